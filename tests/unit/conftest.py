"""Fixtures that several unit tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import appdirs


@pytest.fixture
def appdir(tmp_path: Path) -> Path:
    """A directory with some of everything that a root file system may hold."""
    root = tmp_path / "appdir"
    appdirs.fill(root)
    return root
