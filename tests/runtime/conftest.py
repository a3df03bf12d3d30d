"""Packages that several tests run; made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from mystikos.launcher import Runtime
from tests.support.running import appdir_of, compiled, package


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("runtime")


@pytest.fixture(scope="session", autouse=True)
def _runtime_is_built() -> None:
    Runtime.load()  # raises, and does not skip, when it is not


@pytest.fixture(scope="session")
def probe_appdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the probe, statically linked."""
    root = appdir_of(tmp_path_factory.mktemp("probe") / "appdir", compiled("probe.c", "-static"))
    (root / "srv").mkdir()
    return root


@pytest.fixture(scope="session")
def probe(probe_appdir: Path) -> Path:
    """The probe with a config of defaults."""
    return package(probe_appdir, probe_appdir.parent / "probe", "/bin/probe")
