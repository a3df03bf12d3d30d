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
GUIDE = (ROOT / "docs/guides/packages.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose bin has `myst`."""
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


@pytest.fixture(scope="module")
def told(tour: Path) -> str:
    """What the first block prints; its files are in the tour's directory."""
    return run(tour, BLOCKS[0])


@pytest.mark.runtime
def test_the_tour_ends_with_a_package_that_runs(tour: Path, told: str) -> None:
    assert "config.json: no mistakes" in told
    assert "hello is what it says it is" in told
    assert run(tour, BLOCKS[1]) == "hello from /bin/hello, 0 arguments\n"


def test_the_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(
        re.findall(r"`make (\w[\w-]*)`", README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    )

    assert {"demo", "test"} <= named
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in named)


PAGES = [
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"),
    *(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").rglob("*.md"))),
]


@pytest.mark.parametrize("page", PAGES)
def test_links_into_the_repository_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")

    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    inside = [link for link in links if not link.startswith("http")]

    assert [link for link in inside if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_verbs_that_are_named_exist(page: str) -> None:
    from mystikos.cli import ALIASES, VERBS

    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`|    )myst ([a-z][a-z-]+)", text, flags=re.MULTILINE))

    assert named <= {*VERBS, *ALIASES}


@pytest.mark.runtime
@pytest.mark.usefixtures("told")
def test_the_guides_python_packages_and_verifies(tour: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", GUIDE, flags=re.MULTILINE | re.DOTALL)
    (tour / "hello").unlink()

    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tour, env=environment)

    assert os.access(tour / "hello", os.X_OK)
