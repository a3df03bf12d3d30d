"""Where the pages' commands are run: a directory as "getting started" leaves it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import pages

GETTING_STARTED = "docs/getting-started.md"


@pytest.fixture(scope="session")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a person who has ``myst`` in the PATH."""
    return pages.environment(tmp_path_factory.mktemp("path") / "bin")


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Path:
    """Where somebody has followed "getting started" to its end."""
    home = tmp_path_factory.mktemp("begun") / "home"
    home.mkdir()
    pages.run(GETTING_STARTED, home, variables, home.parent / "outputs")
    return home


@pytest.fixture
def home(page: str, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of it for one page; the page of an example begins with the example's files."""
    example = pages.ROOT / "examples" / Path(page).stem
    start = example if Path(page).parent.name == "examples" else request.getfixturevalue("begun")
    return Path(shutil.copytree(start, tmp_path / "home", symlinks=True))
