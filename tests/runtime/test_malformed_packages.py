"""Whatever the Python reader refuses, the launcher refuses too, but for what it has no use for."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
from pathlib import Path

import pytest

from mystikos import pipeline
from mystikos.formats.descriptor import Section
from mystikos.launcher import Runtime
from tests.support import packages
from tests.support.defects import BAD_PACKAGES
from tests.support.packages import PackageForge
from tests.support.running import TIMEOUT

# Bytes and fields that say nothing about what is loaded; the launcher does not look at them.
HARMLESS = {
    "32-bit",  # Linux itself looks at e_machine only
    "a byte more at the end",
    "bytes in the gap before a section",
    "allocated section",
    "section with an address",
    "section without bytes",
    "section names that are each most of a large table",  # its names are compared where they are
    "descriptor with a reserved byte set",
    "zero pages with a TCS field",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package whose program would crash at once: whether it was started is seen by the exit code."""
    directory = tmp_path_factory.mktemp("package")
    source = packages.appdir(directory / "appdir")
    pipeline.build(
        source, packages.signer(), packages.config(Debug=1), directory / "package", runtime=Runtime.load()
    )
    return directory / "package"


def run(path: Path) -> tuple[int, bytes, bytes]:
    path.chmod(0o755)
    environment = {**os.environ, "MYST_TARGET": "linux"}
    done = subprocess.run([path], check=False, capture_output=True, timeout=TIMEOUT, env=environment)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("defect", [name for name in BAD_PACKAGES if name not in HARMLESS])
def test_the_launcher_refuses_a_malformed_package(package: Path, tmp_path: Path, defect: str) -> None:
    forge = PackageForge.of(package)
    BAD_PACKAGES[defect][0](forge)
    try:
        status, out, err = run(forge.write(tmp_path))
    except OSError:
        return  # not even Linux takes it for a program
    if defect == "cut after the launcher" and status == -signal.SIGSEGV:
        return  # Linux cannot map the launcher itself
    assert (status, out) == (125, b"")
    assert err.startswith(b"myst: ")
    assert err.count(b"\n") == 1
    assert b"panicked" not in err


def test_a_descriptor_section_without_bytes_is_refused(package: Path, tmp_path: Path) -> None:
    forge = PackageForge.of(package)
    header = forge.section_header(Section.ENCLAVE)
    forge.put_at(header + 4, struct.pack("<I", 8)).put_at(header + 32, struct.pack("<Q", 1 << 40))
    assert run(forge.write(tmp_path)) == (
        125,
        b"",
        b"myst: this package is damaged: a section reaches beyond the end of the file\n",
    )
