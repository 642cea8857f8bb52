"""Adds the compiled definitions to what `cargo lambda build` made: target/agents/* becomes agents/* beside `bootstrap`.

    pack_agents.py [--root FOLDER]

Every target/lambda/<function>/bootstrap.zip gets them, whoever reads them; definitions of an earlier build are replaced. The same
definitions and the same `bootstrap` give the same bytes. Standard library only.
"""

import argparse
import os
import pathlib
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = "agents/"
# Any fixed time: a package must depend on what is in it only.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def pack(archive, definitions):
    """Rewrites one zip with these definitions (name in the zip -> bytes), in one step."""
    partial = archive.with_suffix(".partial")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            if not entry.filename.startswith(FOLDER):
                new.writestr(entry, old.read(entry))
        for name, content in definitions.items():
            entry = zipfile.ZipInfo(name, ZIP_TIME)
            entry.create_system = 3  # Unix, so that the mode counts: Lambda reads as a user of its own
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(entry, content)
    os.replace(partial, archive)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="folder of target/")
    root = parser.parse_args().root / "target"
    files = sorted(path for path in (root / "agents").rglob("*") if path.is_file())
    definitions = {FOLDER + path.relative_to(root / "agents").as_posix(): path.read_bytes() for path in files}
    archives = sorted((root / "lambda").glob("*/bootstrap.zip"))
    if FOLDER + "bundle.json" not in definitions or not archives:
        print("pack: target/agents/bundle.json or target/lambda/*/bootstrap.zip is missing; `make build` makes both", file=sys.stderr)
        return 1
    for archive in archives:
        pack(archive, definitions)
    print(f"pack: {len(definitions)} files of definitions in each of {len(archives)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
