"""Staging: the copy of the templates and function packages that one deploy works on.

`cargo build` leaves plain binaries in target/debug; CloudFormation wants `bootstrap.zip` where the template's
CodeUri says (`target/lambda/<function>/bootstrap.zip`, which is where `cargo lambda build` puts it). A local
deploy must not write there, or a later `make deploy` could ship a debug build. So it stages the templates, byte by
byte, and zips of the binaries under the same relative paths in a folder of the stack.
"""

import os
import re
import shutil
import zipfile
from pathlib import Path

from deployment import DeployError

# How CodeUri names a function's package, relative to the template's folder or to infra/.
_CODE_URI = re.compile(r"target/lambda/([a-z0-9-]+)/bootstrap\.zip")
# Any fixed time: a package must depend on the binary's bytes only, for its key in S3 is their hash.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
# Where a function looks for its definitions (shared/src/definitions.rs).
BUNDLE = "agents/bundle.json"


def stage(template: Path, bin_dir: Path, target: Path, agents: Path | None = None) -> Path:
    """Stage `template` with its nested templates and the packages it names; returns the staged template.

    `agents` is the folder of compiled definitions: it goes into every package, whoever reads it.
    """
    root = template.parent
    templates = [template, *sorted((root / "infra").glob("*.yaml"))]
    texts = [path.read_text(encoding="utf-8") for path in templates]
    functions = sorted({name for text in texts for name in _CODE_URI.findall(text)})
    for path, text in zip(templates, texts, strict=True):
        copy = target / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8")
    for name in functions:
        package(bin_dir / name, target / "target" / "lambda" / name / "bootstrap.zip", agents)
    _drop_old_packages(target / "target" / "lambda", functions)
    return target / template.name


def package(binary: Path, archive: Path, agents: Path | None = None) -> None:
    """Write `binary` as the entry `bootstrap` of a stored zip, and `agents` beside it, unless that was done for this very build."""
    if not binary.is_file():
        raise DeployError(f"the template deploys {binary.name}, but {binary} does not exist; build it first")
    stat = binary.stat()
    # The archive carries the binary's modification time, as a stamp.
    definitions = _definitions(agents)
    if archive.exists() and archive.stat().st_mtime_ns == stat.st_mtime_ns and _packed(archive) == definitions.get(BUNDLE):
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    entry = zipfile.ZipInfo("bootstrap", _ZIP_TIME)
    entry.create_system = 3  # Unix, so that the mode below counts
    entry.external_attr = 0o100755 << 16
    partial = archive.with_suffix(".partial")
    # Stored, not deflated: a debug build is large, and it only travels over the loopback.
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as zipped, zipped.open(entry, "w") as out:
        with binary.open("rb") as source:
            shutil.copyfileobj(source, out, 1 << 20)
    with zipfile.ZipFile(partial, "a", zipfile.ZIP_STORED) as zipped:
        add(zipped, definitions)
    partial.replace(archive)
    os.utime(archive, ns=(stat.st_mtime_ns, stat.st_mtime_ns))


def _definitions(agents: Path | None) -> dict[str, bytes]:
    """The files of the folder, by their names in a package. The bundle has the hash of every other one, so it stands for all."""
    if agents is None:
        return {}
    if not (agents / "bundle.json").is_file():
        raise DeployError(f"{agents} holds no compiled definitions; `reprise agents compile` makes them")
    files = sorted(path for path in agents.rglob("*") if path.is_file())
    return {f"agents/{path.relative_to(agents).as_posix()}": path.read_bytes() for path in files}


def _packed(archive: Path) -> bytes | None:
    with zipfile.ZipFile(archive) as zipped:
        return zipped.read(BUNDLE) if BUNDLE in zipped.namelist() else None


def add(zipped: zipfile.ZipFile, definitions: dict[str, bytes]) -> None:
    """Add the files, readable by all: Lambda runs a function as a user of its own."""
    for name, content in definitions.items():
        entry = zipfile.ZipInfo(name, _ZIP_TIME)
        entry.create_system = 3
        entry.external_attr = 0o100644 << 16
        zipped.writestr(entry, content)


def _drop_old_packages(folder: Path, functions: list[str]) -> None:
    for old in folder.iterdir() if folder.is_dir() else ():
        if old.name not in functions:
            shutil.rmtree(old)
