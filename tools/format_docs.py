"""The pages of docs/reference that come from the sources of ``runtime/abi``: package format and host ABI."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import rust_source
from mystikos import _abi
from rust_source import Constant, Source, Struct

ROOT = Path(__file__).resolve().parent.parent
ABI = ROOT / "runtime/abi/src"
PACKAGE_FORMAT = ROOT / "docs/reference/package-format.md"

_GENERATED = re.compile(r"^<!-- generated: (\w+) -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)


def source(name: str) -> Source:
    """A source file of ``runtime/abi``."""
    return rust_source.parse((ABI / f"{name}.rs").read_text(encoding="utf-8"), PAGE_SIZE=_abi.PAGE_SIZE)


# -- the package format


def package_format() -> str:
    """docs/reference/package-format.md as it is, with its tables of structures as the code has them."""
    package = source("package")

    def filled(match: re.Match[str]) -> str:
        name = match[1]
        table = (
            _struct_table(package.structs[name], package)
            if name in package.structs
            else _numbers(package.of(name))
        )
        return f"<!-- generated: {name} -->\n\n{table}\n\n<!-- end -->"

    return _GENERATED.sub(filled, PACKAGE_FORMAT.read_text(encoding="utf-8"))


def _struct_table(struct: Struct, among: Source) -> str:
    rows = [
        (one.offset, f"`{one.name}`", _type(one.type), _with_values(one.doc, among)) for one in struct.fields
    ]
    return _table(("offset", "field", "type", "meaning"), rows) + f"\n\n{struct.size} bytes in all."


def _type(name: str) -> str:
    array = re.fullmatch(r"\[u8; (\d+)\]", name)
    return f"{array[1]} bytes" if array else name.removeprefix("Host")


def _with_values(doc: str, among: Source) -> str:
    """Names of constants get their values behind them."""
    values = {one.name: one.value for one in among.constants if not one.module}

    def valued(match: re.Match[str]) -> str:
        value = values.get(match[1])
        if value is None or isinstance(value, list):
            return match[0]
        return f"`{match[1]}` = " + (f"`{value.decode()}`" if isinstance(value, bytes) else str(value))

    return re.sub(r"`(\w+)`", valued, doc)


def _numbers(constants: Iterable[Constant]) -> str:
    return _table(("number", "name", "meaning"), ((one.value, f"`{one.name}`", one.doc) for one in constants))


def _table(heads: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = (str(cell).replace("|", "&#124;").replace("\n\n", " ") for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


# -- the host ABI

_HOST_ABI = """\
<!-- Generated from runtime/abi/src/hostcall.rs by `make docs`; a test compares. -->
# Between kernel and host

{intro}

The launcher and the kernel travel in one package, so the contract has one version ({version}); nothing else
is to rely on it.

## Leaving the kernel

The kernel leaves with a reason in RDI:

{exits}

## The host area

Each thread has one, outside of the enclave: {area} bytes, aligned to 16. It begins with

{head}

At offset {interrupted} stands a u32 that the kernel clears before a host call; the host sets it when the
thread was to be interrupted while it was outside, where no asynchronous exit tells the kernel of it. The data
buffer begins at offset {buffer} and has {size} bytes.

## Host calls

A result below zero is a negated errno. *Checked* says what the kernel makes sure of before it uses a reply;
where a reply does not pass, the call is EIO.

{calls}

## Start

At the first entry RDI is the address of this block, which the kernel copies in once; it may have at most
{most} bytes. A *Span* is two u64, offset (from the start of the block) and size; one that does not lie in the
block is empty.

{start}

Flags:

{flags}

Signals that the launcher passes on: {signals}.
"""


def host_abi() -> str:
    """docs/reference/host-abi.md."""
    host = source("hostcall")
    return _HOST_ABI.format(
        intro=host.doc.split("\n\n", 1)[1],
        version=host.constant("HOST_ABI_VERSION"),
        exits=_numbers(host.of("exit")),
        area=host.constant("AREA_SIZE"),
        head=_struct_table(host.structs["HostArea"], host),
        interrupted=host.constant("INTERRUPTED_OFFSET"),
        buffer=host.constant("BUFFER_OFFSET"),
        size=host.constant("BUFFER_SIZE"),
        calls=_table(("number", "call", "what it does", "checked"), map(_call, host.of("nr"))),
        most=host.constant("START_SIZE_MAX"),
        start=_struct_table(host.structs["HostStart"], host),
        flags=_numbers(host.of("start")),
        signals=", ".join(_signals(host)),
    )


def _call(call: Constant) -> tuple[object, ...]:
    """A row: from the comment ``(arguments)`` what it does. A second paragraph says what is checked."""
    what, mark, checked = call.doc.partition("\n\nChecked: ")
    match = re.match(r"`\(([^)]*)\)`(?::| (?=→))\s*(.*)$", what)
    if not mark or match is None:
        raise ValueError(
            f'hostcall.rs: {call.name}: its comment must begin with its arguments, "`(fd, size)`: …", '
            'and end with a paragraph that begins with "Checked: "'
        )
    return call.value, f"`{call.name}({match[1]})`", match[2], checked


def _signals(host: Source) -> Iterator[str]:
    import signal

    for number in host.constant("FORWARDED_SIGNALS"):
        yield signal.Signals(number).name
