"""Imports point one way: errors, formats, _abi ← stages ← pipeline ← cli (docs: mystikos.__init__)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "mystikos"

LEAVES = {"errors", "formats", "_abi"}
TOP = ["pipeline", "verbs", "cli"]
# Each stage may use those before it, as the data flows: config → … → package.
STAGES = [
    "config",
    "rootfs",
    "extraction",
    "closure",
    "collect",
    "preflight",
    "binding",
    "layout",
    "measurement",
    "signers",
    "signature",
    "keysafety",
    "request",
    "package",
]


def _modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")


def _name(path: Path) -> str:
    """The top-level part of mystikos that a file belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def _imports(path: Path) -> Iterator[str]:
    """Parts of mystikos that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            names = [f"{module}.{alias.name}" if module == "mystikos" else module for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("mystikos."))


def _allowed(importer: str, imported: str) -> bool:
    if importer == imported or imported == "errors":
        return True
    if importer in LEAVES:
        return imported in LEAVES
    if importer in TOP:
        return imported not in TOP[TOP.index(importer) + 1 :]
    if imported in TOP:
        return False
    if importer in STAGES and imported in STAGES:
        return STAGES.index(imported) < STAGES.index(importer)
    return True


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    importer = _name(path)
    wrong = [name for name in _imports(path) if not _allowed(importer, name) and importer != "__init__"]

    assert wrong == []


def test_the_rule_can_be_broken() -> None:
    assert not _allowed("config", "cli")
    assert not _allowed("formats", "config")
    assert not _allowed("config", "rootfs")
    assert not _allowed("measurement", "package")
    assert not _allowed("pipeline", "cli")
    assert _allowed("package", "signature")
    assert _allowed("cli", "pipeline")


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
