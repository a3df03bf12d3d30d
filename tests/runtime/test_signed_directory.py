"""A signed directory runs in place, with the checks of a package."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mystikos import config as configs
from mystikos import pipeline
from mystikos.formats.descriptor import Section
from tests.support.packages import PackageForge, signer
from tests.support.running import run

CONFIG = b"""{
    "ApplicationPath": "/bin/probe", "MemorySize": "64m", "MaxThreads": 16, "Debug": 1,
    "HostApplicationParameters": true
}"""


@pytest.fixture(scope="module")
def signed(probe_appdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("signed") / "probe.signed"
    pipeline.sign(probe_appdir, signer(), configs.parse(CONFIG, "config.json"), directory)
    return directory


def test_it_runs_in_place_from_any_directory(signed: Path, tmp_path: Path) -> None:
    assert run(signed / "bin/probe", "exit", "7").status == 7
    assert run("probe.signed/bin/probe", "exit", "7", cwd=signed.parent).status == 7
    (tmp_path / "elsewhere").symlink_to(signed / "bin/probe")
    assert run(tmp_path / "elsewhere", "exit", "7").status == 7


def test_it_runs_from_a_copy_of_the_directory_and_alone(signed: Path, tmp_path: Path) -> None:
    shutil.copytree(signed, tmp_path / "copy.signed")
    assert run(tmp_path / "copy.signed/bin/probe", "exit", "7").status == 7
    shutil.copy(signed / "bin/probe", tmp_path / "alone")
    assert run(tmp_path / "alone", "exit", "7").status == 7


def test_a_changed_byte_refuses_to_run(signed: Path, tmp_path: Path) -> None:
    forge = PackageForge.of(signed / "bin/probe").flip(Section.ROOTFS, 5000)
    forged = forge.write(tmp_path)
    forged.chmod(0o755)
    outcome = run(forged, "exit", "7")
    assert outcome.status == 125
    assert b"refused: the content differs from what was signed" in outcome.err


def test_its_root_file_system_runs_without_a_package(signed: Path) -> None:
    import sys

    command = ["-m", "mystikos", "exec-linux", str(signed / "rootfs"), "/bin/probe", "exit", "7"]
    source = str(Path(__file__).resolve().parents[2] / "src")
    assert run(sys.executable, *command, env={"PYTHONPATH": source}).status == 7
