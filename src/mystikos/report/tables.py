"""The tables of the report: rows of cells, each with its text and what it sorts by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from mystikos.formats.descriptor import PAGE
from mystikos.inspection.facts import (
    CodeFacts,
    EnclaveFacts,
    FileFacts,
    PackageFacts,
    RootFsFacts,
    TreeFacts,
)
from mystikos.inspection.wording import (
    KINDS,
    counted,
    origin,
    overhead,
    setting_origin,
    setting_value,
    share,
    site_text,
)
from mystikos.text import display, size

MOST_ROWS = 20_000
"""What a browser still sorts at once; the rest is in the JSON."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows; ``value`` is a number to sort by where the text is none, ``bar`` a part of 100."""

    text: str
    value: int | None = None
    bar: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and the kind of its cells: "text" or "word" (which is not wrapped), "number", "share" of a
    whole, "code", "path" or "hash" (in a typewriter's letters).
    """

    label: str
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """One table; ``left_out`` rows are not shown."""

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left_out: int = 0


def tables(facts: PackageFacts | TreeFacts) -> Iterator[Table]:
    """All tables, in the order of the page."""
    if isinstance(facts, PackageFacts):
        yield _memory(facts.enclave)
        yield _regions(facts.enclave)
        yield _config(facts)
        yield _native_code(facts)
        yield _sections(facts)
    yield _files(facts.rootfs)
    if facts.code.files:
        yield _programs(facts.code)
        yield _call_sites(facts.code)
        yield _illegal_sites(facts.code)


def _table(
    name: str,
    title: str,
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[tuple[Cell, ...]],
    total: int,
) -> Table:
    shown = tuple(islice(rows, MOST_ROWS))
    return Table(name, title, caption, tuple(columns), shown, total - len(shown))


def _number(number: int) -> Cell:
    return Cell(f"{number:,}", number)


def _offset(number: int) -> Cell:
    return Cell(f"{number:#x}", number)


def _size(number: int) -> Cell:
    return Cell(size(number), number)


def _memory(enclave: EnclaveFacts) -> Table:
    columns = (
        Column("For", "word"),
        Column("Pages", "number"),
        Column("Size", "number"),
        Column("Share", "share"),
        Column("Because of"),
    )
    rows = [
        (
            Cell(one.cause),
            _number(one.pages),
            _size(one.pages * PAGE),
            Cell(share(one.pages, enclave.epc_pages), one.pages, 100 * one.pages / enclave.epc_pages),
            Cell(one.because),
        )
        for one in enclave.causes
    ]
    caption = f"{enclave.epc_pages:,} pages of 4 KiB, {overhead(enclave)}."
    return _table("memory", "Protected memory", caption, columns, rows, len(rows))


def _regions(enclave: EnclaveFacts) -> Table:
    columns = (
        Column("Region", "word"),
        Column("Offset", "number"),
        Column("Count", "number"),
        Column("Pages", "number"),
        Column("Size", "number"),
        Column("Rights", "word"),
        Column("Measured"),
        Column("Content", "code"),
    )
    rows = [
        (
            Cell(KINDS[one.kind]),
            _offset(one.offset),
            _number(one.count),
            _number(one.count * one.pages),
            _size(one.count * one.pages * PAGE),
            Cell(one.rights),
            Cell("yes" if one.measured else "no"),
            Cell(one.content),
        )
        for one in enclave.regions
    ]
    caption = "What is loaded where. Of regions that are alike, the first one's offset."
    return _table("regions", "Regions", caption, columns, rows, len(rows))


def _config(facts: PackageFacts) -> Table:
    columns = (Column("Key", "code"), Column("Value", "code"), Column("Origin", "word"))
    rows = [
        (Cell(one.key), Cell(setting_value(one)), Cell(setting_origin(one))) for one in facts.config.settings
    ]
    caption = facts.config.problem or "Every setting, as the kernel reads it."
    return _table("config", "Config", display(caption), columns, rows, len(rows))


def _native_code(facts: PackageFacts) -> Table:
    columns = (
        Column("Image", "word"),
        Column("Bytes", "number"),
        Column("Origin", "word"),
        Column("SHA-256", "hash"),
    )
    names = {"launcher": "launcher", "kernel": "kernel", "crt": "CRT image"}
    rows = [
        (Cell(names[one.name]), _number(one.size), Cell(origin(one)), Cell(one.sha256))
        for one in facts.images
    ]
    caption = "The code that is not the application's, compared with the mystikos that wrote this report."
    return _table("native", "Native code", caption, columns, rows, len(rows))


def _sections(facts: PackageFacts) -> Table:
    columns = (
        Column("Section", "code"),
        Column("Offset", "number"),
        Column("Bytes", "number"),
        Column("SHA-256", "hash"),
    )
    rows = [
        (Cell(one.name), _offset(one.offset), _number(one.size), Cell(one.sha256)) for one in facts.sections
    ]
    caption = f"The file: {facts.file_size:,} bytes."
    return _table("sections", "Sections", caption, columns, rows, len(rows))


def _files(rootfs: RootFsFacts) -> Table:
    columns = (
        Column("Path", "path"),
        Column("Kind", "word"),
        Column("Mode", "code"),
        Column("Bytes", "number"),
        Column("Pages", "number"),
        Column("SHA-256", "hash"),
    )
    rows = (
        (
            Cell(f"{display(one.path)}{_leads_to(one)}"),
            Cell(_KINDS[one.kind]),
            Cell(one.mode),
            _number(one.size),
            _number(one.pages),
            Cell(one.sha256 or ""),
        )
        for one in rootfs.files
    )
    caption = f"The root file system: {size(rootfs.size)} as an archive."
    return _table("files", "Files", caption, columns, rows, len(rootfs.files))


_KINDS = {"file": "file", "directory": "directory", "symlink": "symbolic link"}


def _leads_to(file: FileFacts) -> str:
    if file.target is not None:
        return f" → {display(file.target)}"
    return "" if file.linked_to in (None, file.path) else f" = {display(file.linked_to or b'')}"


def _programs(code: CodeFacts) -> Table:
    columns = (
        Column("ELF file", "path"),
        Column("Bound", "number"),
        Column("Trap", "number"),
        Column("Why they trap"),
        Column("Illegal in an enclave", "code"),
        Column("Bytes not decoded", "number"),
    )
    rows = (
        (
            Cell(display(one.path)),
            _number(one.bound),
            _number(one.trapped),
            Cell(
                f"not bound at all: {one.problem}"
                if one.problem
                else "; ".join(f"{count} {reason}" for reason, count in one.reasons.items())
            ),
            Cell(counted(one.illegal), sum(one.illegal.values())),
            _number(one.unreadable),
        )
        for one in code.files
    )
    caption = f"{code.bound:,} system calls are bound to the kernel at full speed, {code.trapped:,} trap."
    return _table("programs", "Programs and libraries", caption, columns, rows, len(code.files))


def _call_sites(code: CodeFacts) -> Table:
    columns = (
        Column("ELF file", "path"),
        Column("Offset", "number"),
        Column("State", "word"),
        Column("Displaced instructions, or why it traps", "code"),
    )
    rows = (
        (
            Cell(display(file.path)),
            _offset(site.offset),
            Cell("bound" if site.bound else "traps"),
            Cell(site_text(site) if site.bound else str(site.reason)),
        )
        for file in code.files
        for site in file.sites
    )
    caption = "Every system call that stands in a program or library."
    return _table("calls", "System calls", caption, columns, rows, code.bound + code.trapped)


def _illegal_sites(code: CodeFacts) -> Table:
    columns = (
        Column("ELF file", "path"),
        Column("Offset", "number"),
        Column("Instruction", "code"),
        Column("Bytes", "code"),
        Column("What becomes of it"),
        Column("Where"),
    )
    rows = (
        (
            Cell(display(file.path)),
            _offset(site.offset),
            Cell(site.name),
            Cell(site.code),
            Cell(site.effect),
            Cell("in a function" if site.listed else "between functions, may be data"),
        )
        for file in code.files
        for site in file.illegal_sites
    )
    total = sum(code.illegal.values())
    caption = "Instructions other than system calls that an enclave cannot execute (SDM 3D, 37.6.1)."
    return _table("illegal", "Illegal instructions", caption, columns, rows, total)
