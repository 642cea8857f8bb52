"""Settings of the emulator process, and the clean environment it must run in.

The emulator gives every function its own *whole* environment. A variable that is missing in
template.yaml would be found there by accident, and a real AWS profile or proxy of the user would
leak into the functions. So `enter` keeps an allow-list and drops the rest before the emulator
is imported (it reads its settings at import time). Read next: server.py.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# What a function may inherit: none of it is configuration.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "RUST_BACKTRACE")


@dataclass(frozen=True)
class Settings:
    """Where to listen and where the stack keeps its files."""

    emulator_port: int
    front_port: int
    stack_dir: Path
    log_level: str
    minute_seconds: float


def read(environ: Mapping[str, str]) -> Settings:
    """Read the settings; raises ValueError that names the variable."""
    stack_dir = environ.get("STACK_DIR", "")
    if not stack_dir:
        raise ValueError("STACK_DIR is not set: the folder of the stack, for example .local/stacks/dev")
    return Settings(
        emulator_port=_port(environ, "EMULATOR_PORT", 4566),
        front_port=_port(environ, "PORT", 8000),
        stack_dir=Path(stack_dir).resolve(),
        log_level=environ.get("EMULATOR_LOG_LEVEL", "WARNING"),
        minute_seconds=_minute(environ, "EMULATOR_MINUTE_SECONDS"),
    )


def enter(settings: Settings) -> None:
    """Replace this process's environment with what the emulator and the functions may see."""
    scratch = settings.stack_dir / "tmp"
    # Unpacked function packages of an earlier process: worthless, about 100 MB per debug build.
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(
        kept,
        GATEWAY_PORT=str(settings.emulator_port),
        BIND_HOST="127.0.0.1",
        IOT_MTLS_ENABLED="0",
        SFTP_ENABLED="0",
        LOG_LEVEL=settings.log_level,
        # An absent Docker socket: nothing of ours needs Docker, and probing it costs seconds.
        DOCKER_HOST=f"unix://{scratch}/no-docker.sock",
        # Functions get the endpoint only from here; without it the SDK calls the real AWS.
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{settings.emulator_port}",
        AWS_SECRET_ACCESS_KEY="test",
        TMPDIR=str(scratch),
    )
    tempfile.tempdir = None


def leave_no_settings_behind() -> None:
    """Drop what only the emulator's start needed, so that no function sees it."""
    for name in ("LOG_LEVEL", "DOCKER_HOST", "BIND_HOST", "IOT_MTLS_ENABLED", "SFTP_ENABLED"):
        os.environ.pop(name, None)


def fail(message: str) -> None:
    """End the process with one line that says why."""
    sys.stderr.write(f"emulator: {message}\n")
    sys.exit(1)


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise ValueError(f"{name} is {text!r}; it must be a port number between 1 and 65535")
    return int(text)


def _minute(environ: Mapping[str, str], name: str) -> float:
    text = environ.get(name, "60")
    if not text.isascii() or not text.isdigit() or not 10 <= int(text) <= 60:
        raise ValueError(f"{name} is {text!r}; it must be a number of seconds from 10 to 60")
    return float(text)
