"""The examples in docstrings do what they say, where they can run as they stand."""

from __future__ import annotations

import doctest
import importlib

import pytest

# The examples of the other modules need a package, an application directory or a machine's files.
MODULES = [
    "mystikos.cli.failures",
    "mystikos.cli.render",
    "mystikos.config",
    "mystikos.config.documents",
    "mystikos.config.kinds",
    "mystikos.config.lints",
    "mystikos.config.reading",
    "mystikos.config.settings",
    "mystikos.errors",
    "mystikos.formats.atomic",
    "mystikos.formats.jsonc",
    "mystikos.rootfs",
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))

    assert result.attempted > 0
    assert result.failed == 0
