"""The head of the report: what the page is about, what to beware of, and the numbers that people ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mystikos
from mystikos.formats.descriptor import PAGE
from mystikos.inspection.facts import PackageFacts, TreeFacts
from mystikos.inspection.wording import counted, identity_rows
from mystikos.text import display, size


@dataclass(frozen=True, slots=True)
class Heading:
    """Title of the page, what it is a report of, and the identity as (name, value)."""

    title: str
    kind: str
    version: str
    identity: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """One number, what it counts, and a word about it."""

    label: str
    value: str
    note: str


def heading(facts: PackageFacts | TreeFacts) -> Heading:
    """Of a package its application; a directory has no name of its own."""
    if not isinstance(facts, PackageFacts):
        return Heading("Root file system", "root file system", mystikos.__version__, ())
    name = "unknown application" if facts.application is None else display(facts.application)
    return Heading(name, "package", mystikos.__version__, tuple(identity_rows(facts)))


def warnings(facts: PackageFacts | TreeFacts) -> tuple[str, ...]:
    """What everybody who reads the report should know first."""
    return tuple(_warnings(facts)) if isinstance(facts, PackageFacts) else ()


def _warnings(facts: PackageFacts) -> Iterator[str]:
    identity = facts.identity
    if identity.debug:
        yield "A debug enclave: the host can read and change its memory."
    if identity.published_key:
        yield f"No signer: everybody has the private key, it is published ({identity.published_key})."
    if facts.config.problem:
        yield f"Its config cannot be read: {display(facts.config.problem)}."
    others = [one.name for one in facts.images if one.installed is False]
    if others:
        yield f"Not of the mystikos that wrote this report: {', '.join(others)}."


def tiles(facts: PackageFacts | TreeFacts) -> tuple[Tile, ...]:
    """The numbers at the top."""
    return tuple(_tiles(facts))


def _tiles(facts: PackageFacts | TreeFacts) -> Iterator[Tile]:
    if isinstance(facts, PackageFacts):
        enclave = facts.enclave
        pages = f"{enclave.epc_pages:,} pages (EPC)"
        yield Tile("Protected memory", size(enclave.epc_pages * PAGE), pages)
        yield Tile("Threads", f"{enclave.threads:,}", "at once")
        yield Tile("Package", size(facts.file_size), f"{facts.file_size:,} bytes")
    code = facts.code
    files = sum(one.kind == "file" for one in facts.rootfs.files)
    yield Tile("Files", f"{files:,}", f"{size(facts.rootfs.size)} as an archive")
    yield Tile("System calls", f"{code.bound:,}", f"bound; {code.trapped:,} trap")
    illegal = sum(code.illegal.values())
    yield Tile("Illegal instructions", f"{illegal:,}", counted(code.illegal) or "none")
