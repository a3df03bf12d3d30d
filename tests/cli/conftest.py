"""A working directory with all that a package is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import packages, tokens

from mystikos.launcher import Runtime


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key in PKCS#8."""
    return tokens.make_key(tmp_path_factory.mktemp("key") / "private.pem")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """appdir and config.json in the working directory, no key, and a runtime that only looks like one."""
    packages.appdir(tmp_path / "appdir", {"etc/data": b"x" * 5000})
    settings = {"ApplicationPath": "/bin/app", "MemorySize": "2m", "ProductID": 7, "SecurityVersion": 3}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setattr(Runtime, "load", packages.runtime)
    return tmp_path
