"""The guide to signing keeps its word: its commands run as they stand, in order, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import packages, tokens

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs/guides/signing.md").read_text(encoding="utf-8")
CONFIG = '{"ApplicationPath": "/bin/hello", "MemorySize": "2m", "ProductID": 1, "SecurityVersion": 1}'


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, flags=re.MULTILINE | re.DOTALL))


@pytest.mark.runtime
def test_the_guide_runs(tmp_path: Path) -> None:
    packages.appdir(tmp_path / "appdir")
    (tmp_path / "appdir/bin/app").rename(tmp_path / "appdir/bin/hello")
    (tmp_path / "config.json").write_text(CONFIG)
    tokens.make_key(tmp_path / "private.pem")
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin/myst"
    shim.write_text(f'#!/bin/sh\nexec env PYTHONPATH="{ROOT}/src" "{sys.executable}" -m mystikos "$@"\n')
    shim.chmod(0o755)

    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    told = run(["bash", "-eu", "-c", blocks("sh")], tmp_path, environment)
    assert "hello is what it says it is" in told
    run([sys.executable, "-c", blocks("python")], tmp_path, {**environment, "PYTHONPATH": f"{ROOT}/src"})

    package = (tmp_path / "hello").read_bytes()
    for other in ("token", "command", "library"):
        assert (tmp_path / f"hello.{other}").read_bytes() == package


def run(command: list[str], home: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, check=False, cwd=home, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
