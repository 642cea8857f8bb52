"""Checks what `make build` left for Lambda, before CloudFormation finds out: target/lambda/<function>/bootstrap.zip.

Per function of template.yaml: the zip is there, holds an executable `bootstrap`, an ELF of one and the same machine,
wants no newer glibc than the runtime has, holds compiled definitions that are those of their sources beside them, and stays
within Lambda's limits. The last line of the output is the
architecture (arm64 or x86_64), which deploy.sh passes on as the parameter Architecture. Standard library only.
"""

import argparse
import hashlib
import json
import pathlib
import re
import struct
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
MACHINES = {183: "arm64", 62: "x86_64"}  # e_machine of the ELF header: EM_AARCH64, EM_X86_64
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_ZIPPED = 50 * 1024 * 1024
MAX_UNZIPPED = 250 * 1024 * 1024
GLIBC_OF_AL2023 = (2, 34)


def code_uris(template):
    """The CodeUri of every function. Read line by line: CloudFormation's tags are not plain YAML."""
    return re.findall(r"^\s+CodeUri:\s*(\S+)\s*$", template.read_text(encoding="utf-8"), re.MULTILINE)


def definitions(archive):
    """What is wrong with the definitions in a zip; the functions look closer when they start (shared/src/definitions.rs)."""
    names = [name for name in archive.namelist() if name.startswith("agents/")]
    if "agents/bundle.json" not in names:
        return ["holds no agents/bundle.json; `make build` adds it"]
    try:
        sources = json.loads(archive.read("agents/bundle.json"))["sources"]
    except (ValueError, KeyError, TypeError):
        return ["its agents/bundle.json is none"]
    found = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names if name != "agents/bundle.json"}
    if found != {f"agents/{name}": digest for name, digest in sources.items()}:
        return ["its agents/bundle.json was compiled from other files than those beside it; run `make build` again"]
    return []


def inspect(path):
    """(architecture, bytes zipped, problems) of one zip."""
    if not path.is_file():
        return None, 0, ["is missing; `make build` makes it"]
    zipped, problems = path.stat().st_size, []
    if zipped > MAX_ZIPPED:
        problems.append(f"has {zipped:,} bytes; Lambda takes {MAX_ZIPPED:,}")
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        return None, zipped, ["is not a zip file"]
    with archive:
        unzipped = sum(entry.file_size for entry in archive.infolist())
        if unzipped > MAX_UNZIPPED:
            problems.append(f"has {unzipped:,} bytes unzipped; Lambda takes {MAX_UNZIPPED:,}")
        if "bootstrap" not in archive.namelist():
            return None, zipped, [*problems, f"has no `bootstrap` at its top, but {archive.namelist()}"]
        entry = archive.getinfo("bootstrap")
        if not (entry.external_attr >> 16) & 0o111:
            problems.append("its `bootstrap` is not executable")
        binary = archive.read(entry)
        problems += definitions(archive)
    if binary[:6] != b"\x7fELF\x02\x01":
        return None, zipped, [*problems, "its `bootstrap` is not a 64-bit little-endian ELF program"]
    machine = struct.unpack_from("<H", binary, 18)[0]
    wanted = max(((int(a), int(b)) for a, b in re.findall(rb"GLIBC_(\d+)\.(\d+)", binary)), default=(0, 0))
    if wanted > GLIBC_OF_AL2023:
        problems.append(f"needs glibc {wanted[0]}.{wanted[1]}; provided.al2023 has {GLIBC_OF_AL2023[0]}.{GLIBC_OF_AL2023[1]}")
    if machine not in MACHINES:
        problems.append(f"is for ELF machine {machine}, which Lambda does not have")
    return MACHINES.get(machine), zipped, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", choices=sorted(MACHINES.values()), help="what it has to be; default: any, but one")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="folder of template.yaml")
    arguments = parser.parse_args()

    uris = code_uris(arguments.root / "template.yaml")
    failed, architectures = not uris, set()
    for uri in uris:
        architecture, size, problems = inspect(arguments.root / uri)
        if architecture:
            architectures.add(architecture)
            if arguments.arch and architecture != arguments.arch:
                problems.append(f"is for {architecture}, not {arguments.arch}")
        for problem in problems:
            print(f"package: {uri} {problem}", file=sys.stderr)
        failed = failed or bool(problems)
        if not problems:
            print(f"package: {uri} {architecture}, {size / 1024 / 1024:.1f} MB")
    if len(architectures) > 1:
        print("package: the functions are for different architectures; run `make build` again", file=sys.stderr)
        failed = True
    if failed:
        return 1
    print(architectures.pop())
    return 0


if __name__ == "__main__":
    sys.exit(main())
