"""What holds for the examples in doc-strings."""

from __future__ import annotations

import tempfile

import pytest


@pytest.fixture(autouse=True)
def _examples_leave_nothing_in_tmp(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Their temporary directories are pytest's, which removes old ones."""
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("example")))
