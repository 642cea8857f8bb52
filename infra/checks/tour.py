#!/usr/bin/env python3
"""The terminal session in README.md: runs its commands on a real stack and writes what they print beneath them.

    python3 infra/checks/tour.py            records: README.md gets what was printed
    python3 infra/checks/tour.py --check    compares: fails when a command fails, or prints something of another shape

The commands are those that stand in README.md between the two markers, each behind a `$`; edit them there and record again. They are
typed there for the ports of `make run`; PORT and MODEL_PORT say where the stack is that they are run on. Two recordings have the same
shape when they differ in ids, times, numbers and what depends on them (the width of columns) only.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
README = ROOT / "README.md"
MARKED = re.compile(r"(<!-- tour -->\n```console\n)(.*?)(```\n<!-- /tour -->)", re.DOTALL)
# The ports in README.md, and the variables that name those of the stack under test.
PORTS = {"8000": os.environ.get("PORT", "8000"), "4010": os.environ.get("MODEL_PORT", "4010")}
# A run that dies takes some attempts; nothing here takes minutes.
LIMIT_SECONDS = 180

# What differs from one recording to the next, in the order in which it is blanked.
VARIABLE = [
    (r"(?i)\b([a-z]{2,5})_[0-9A-HJKMNP-TV-Z]{26}\b", r"\1_ID"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(/[0-9a-f]{8})?", "WORKER"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "TIME"),
    (r"\b[0-9a-f]{12,}\b", "HASH"),
    (r"\$?\d+(\.\d+)?( ?(ms|s|m|h|d|min)\b)?", "N"),
    (r"N( N)+", "N"),
    (r"just now|N ago", "AGE"),
    (r"[─━-]{3,}", "---"),
    (r"\s+", " "),
]


def on_this_stack(text: str) -> str:
    for readme, here in PORTS.items():
        text = text.replace(f"localhost:{readme}", f"localhost:{here}")
    return text


def as_in_readme(text: str) -> str:
    for readme, here in PORTS.items():
        text = text.replace(f"localhost:{here}", f"localhost:{readme}")
        text = text.replace(f"127.0.0.1:{here}", f"127.0.0.1:{readme}")
    return text


def shape(text: str) -> list[str]:
    lines = []
    for line in text.splitlines():
        for pattern, blank in VARIABLE:
            line = re.sub(pattern, blank, line)
        lines.append(line.strip())
    return [line for line in lines if line]


def run(command: str, session: dict[str, str]) -> str:
    """What a command prints, to either stream, as a terminal would show it."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", on_this_stack(command)], cwd=ROOT, env=session, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_SECONDS,
    )
    if done.returncode != 0:
        sys.exit(f"tour: `{command}` failed with {done.returncode}:\n{done.stdout}")
    return as_in_readme(done.stdout.rstrip("\n"))


def main() -> None:
    readme = README.read_text()
    found = MARKED.search(readme)
    if not found:
        sys.exit("tour: README.md has no tour between its markers")
    entries = re.split(r"^\$ ", found[2], flags=re.MULTILINE)[1:]
    session = dict(os.environ, NO_COLOR="1", REPRISE_URL=on_this_stack("http://localhost:8000"))
    session["PATH"] = f"{ROOT / 'target/debug'}{os.pathsep}{session['PATH']}"
    recorded, problems = [], []
    for entry in entries:
        command, _, before = entry.partition("\n")
        now = run(command, session)
        recorded.append(f"$ {command}\n" + (f"{now}\n" if now else ""))
        if shape(before) != shape(now):
            problems.append(f"$ {command}\n--- README.md has\n{before}--- it printed\n{now}\n")
    if "--check" not in sys.argv[1:]:
        README.write_text(readme[: found.start(2)] + "\n".join(recorded) + readme[found.end(2) :])
        print(f"tour: recorded {len(recorded)} commands")
    elif problems:
        sys.exit("tour: the recording is not what a fresh run prints (`make tour` records it anew)\n\n" + "\n".join(problems))
    else:
        print(f"tour: {len(recorded)} commands print what README.md shows")


if __name__ == "__main__":
    main()
