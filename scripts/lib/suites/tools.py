#!/usr/bin/env python3
"""What the suites need and no distribution has. Run by scripts/suites, installs what is missing.

expected.tsv is about these versions, so each is in a directory of its own: an older one that is there is not taken for it."""
import pathlib
import subprocess
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
from bench.common import RELEASE

CRATES = {"pjdfstest": "0.2.2", "fsx": "0.3.2"}
VECTORS = "50.0.2"


def directory(name, version):
    return RELEASE.parent / "suites" / f"{name}-{version}"


def program(crate):
    return directory(crate, CRATES[crate]) / "bin" / crate


def vectors():
    return directory("cryptography-vectors", VECTORS) / "cryptography_vectors"


def install(*command):
    subprocess.run(command, check=True, stdout=sys.stderr)


def main():
    for crate, version in CRATES.items():
        if not program(crate).exists():
            install("cargo", "install", "--quiet", "--locked", "--root", directory(crate, version), "--version", version, crate)
    if not vectors().exists():
        install(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--root-user-action", "ignore",
                "--target", vectors().parent, f"cryptography-vectors=={VECTORS}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"suites: {error}")
