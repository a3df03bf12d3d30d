"""The README keeps its word: its commands run as they stand, in order, in one directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the first block has run, and whose bin has `myst`."""
    home = tmp_path_factory.mktemp("tour")
    (home / "bin").mkdir()
    shim = home / "bin/myst"
    shim.write_text(f'#!/bin/sh\nexec env PYTHONPATH="{ROOT}/src" "{sys.executable}" -m mystikos "$@"\n')
    shim.chmod(0o755)
    return home


def run(tour: Path, block: str) -> str:
    path = f"{tour / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eu", "-c", block],
        check=False,
        cwd=tour,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.runtime
def test_the_tour_ends_with_a_package_that_runs(tour: Path) -> None:
    make, start = BLOCKS

    told = run(tour, make)
    assert "config.json: no mistakes" in told
    assert "hello is what it says it is" in told
    assert run(tour, start) == "hello from /bin/hello, 0 arguments\n"


def test_the_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(
        re.findall(r"`make (\w[\w-]*)`", README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    )

    assert {"demo", "test"} <= named
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in named)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_into_the_repository_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")

    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]

    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_verbs_that_are_named_exist(page: str) -> None:
    from mystikos.cli import ALIASES, VERBS

    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`|    )myst ([a-z][a-z-]+)", text, flags=re.MULTILINE))

    assert named <= {*VERBS, *ALIASES}
