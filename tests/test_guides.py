"""The guides keep their word: their commands and their Python run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ("measure", "diff", "extract", "doctor", "exec")

START = """\
myst collect /bin/true -o appdir
mkdir -p appdir/bin
cp appdir/usr/bin/true appdir/bin/hello || cp /bin/true appdir/bin/hello
printf '{"ApplicationPath": "/bin/hello", "MemorySize": "2m"}' > config.json
myst keygen private.pem
myst package-sgx appdir private.pem config.json -o hello
cp hello hello-1.0
myst package-sgx appdir private.pem config.json -o hello-1.1 --date 2026-01-01
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what the guides begin with, and whose bin has `myst`."""
    home = tmp_path_factory.mktemp("guides")
    (home / "bin").mkdir()
    shim = home / "bin/myst"
    shim.write_text(f'#!/bin/sh\nexec env PYTHONPATH="{ROOT}/src" "{sys.executable}" -m mystikos "$@"\n')
    shim.chmod(0o755)
    done = run(home, ["bash", "-eu", "-c", START])
    assert done.returncode == 0, done.stderr
    return home


def run(home: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{home / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}/src"}
    return subprocess.run(
        command, check=False, cwd=home, env=environment, capture_output=True, text=True, timeout=120
    )


def blocks(guide: str, language: str) -> list[str]:
    text = (ROOT / f"docs/guides/{guide}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def indented(guide: str) -> list[str]:
    text = (ROOT / f"docs/guides/{guide}.md").read_text(encoding="utf-8")
    return re.findall(r"^    (myst .*)$", text, flags=re.MULTILINE)


@pytest.mark.runtime
@pytest.mark.parametrize("guide", GUIDES)
def test_every_command_and_every_example_runs(prepared: Path, guide: str) -> None:
    commands = [*indented(guide), *blocks(guide, "sh")]
    assert commands
    for command in commands:
        done = run(
            prepared, ["bash", "-u", "-c", command] if command in indented(guide) else _strict(command)
        )
        assert done.returncode in _expected(command), f"{command}\n{done.stderr}"
    for example in blocks(guide, "python"):
        done = run(prepared, [sys.executable, "-c", example])
        assert done.returncode == 0, f"{example}\n{done.stderr}"


def _expected(command: str) -> set[int]:
    """The exit codes that may come of it: what a machine can do is its own affair."""
    return {"myst diff hello-1.0 hello-1.1": {1}, "myst doctor": {0, 1}}.get(command, {0})


def _strict(block: str) -> list[str]:
    return ["bash", "-eu", "-c", block]
