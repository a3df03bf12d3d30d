"""A package against what its claimed inputs give when they are packaged again: bit for bit.

``pipeline.rebuild`` builds again, this compares, and tells the first difference by its cause.
"""

from __future__ import annotations

from collections.abc import Iterator

from mystikos.diffing import Difference, diff_packages
from mystikos.diffing.content import first_difference
from mystikos.package import Package
from mystikos.provenance import ToolChange
from mystikos.rootfs import printable
from mystikos.verification.report import Check

__all__ = ["check", "failed"]

_NAME = "rebuild"
_MEANING = "the same inputs, packaged again, give the same bytes"


def check(package: Package, again: Package, other_tools: tuple[ToolChange, ...] = ()) -> Check:
    """Whether two packages are the same bytes; ``again`` is the one that was built now.

    ``other_tools`` are the versions that differ from those the package was made with.
    """
    tools = ", ".join(f"{tool.name} {tool.before} → {tool.after}" for tool in other_tools)
    at = first_difference(package.file, again.file)
    if at is None:
        return Check(_NAME, f"{_MEANING}, with other tools, too: {tools}" if tools else _MEANING)
    causes = list(_causes(diff_packages(package, again)))
    more = f"; and {len(causes) - 1} more differences" if len(causes) > 1 else ""
    found = f"from byte {at:#x} on, packaged → built now: {causes[0]}{more}"
    return Check(_NAME, _MEANING, f"{found}; it was made with other tools: {tools}" if tools else found)


def failed(reason: str) -> Check:
    """What the package holds cannot be packaged at all."""
    return Check(_NAME, _MEANING, f"its own contents are refused: {reason}")


def _causes(found: Difference) -> Iterator[str]:
    """What is behind each difference, causes before what follows from them."""
    for setting in found.settings:
        yield f"config: {setting.name}: {setting.before!r} → {setting.after!r}"
    for file in found.files:
        yield f"file {printable(file.path)}: {', '.join(file.what)}"
    images = sorted(found.contents, key=lambda change: change.part == "parameter page")
    for change in images:
        digests = f"SHA-256 {change.sha256_before} → {change.sha256_after}"
        yield f"{change.part}: from its byte {change.offset:#x} on, {digests}"
    for place in found.layout:
        yield f"layout of {place.kind}"
    for field in (*found.enclave, *found.sigstruct):
        yield f"{field.name}: {field.before!r} → {field.after!r}"
