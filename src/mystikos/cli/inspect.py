"""``myst inspect``: what a package or an application directory is made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
from iced_x86 import Decoder, Formatter, FormatterSyntax

from mystikos.cli.render import display, json_option, table, to_json
from mystikos.cli.verb import verb
from mystikos.inspection import (
    BindingFacts,
    CallSite,
    FileFacts,
    PackageFacts,
    epc_bytes,
    inspect_path,
    syscalls,
)

_KINDS = {
    "KERNEL": "kernel",
    "CRT": "C runtime support",
    "CONFIG": "config",
    "BINDINGS": "system call bindings",
    "PUBKEYS": "trusted disk keys",
    "ROOTHASHES": "trusted disk root hashes",
    "ROOTFS": "root file system",
    "TCS": "thread control structures",
    "SSA": "thread state save areas",
    "THREAD": "thread areas",
    "STACK": "kernel stacks",
    "HEAP": "kernel heap",
    "USER": "user memory",
    "EXEC_WINDOW": "fixed-address program",
}


@verb(
    "inspect",
    examples=[
        "myst inspect hello",
        "myst inspect appdir --sites",
        "myst inspect --syscalls",
    ],
)
@click.argument("path", required=False, type=click.Path(path_type=Path, readable=False))
@json_option
@click.option("--sites", is_flag=True, help="List every system call of every file.")
@click.option(
    "--syscalls", "list_syscalls", is_flag=True, help="List the system calls that the kernel handles."
)
def command(path: Path | None, as_json: bool, sites: bool, list_syscalls: bool) -> None:
    """Tell what PATH is made of: a package, an application directory or a CPIO archive.

    For every ELF file in it: how many system calls are bound to the kernel at full speed and how many
    trap, and why. For a package also its identity, its sections and its enclave. Whether a package is what
    it says is for `myst verify` to tell.
    """
    if list_syscalls == (path is not None):
        raise click.UsageError("expected either a package or directory, or --syscalls")
    if path is None:
        known = syscalls()
        click.echo(to_json(known) if as_json else _syscalls([dataclasses.astuple(one) for one in known]))
        return

    facts = inspect_path(path)
    if as_json:
        click.echo(to_json(facts if sites else _without_sites(facts)))
        return
    if isinstance(facts, PackageFacts):
        click.echo(_package(facts) + "\n")
        facts = facts.bindings
    click.echo(_bindings(facts, sites))


def _without_sites(facts: PackageFacts | BindingFacts) -> object:
    if isinstance(facts, PackageFacts):
        return dataclasses.replace(facts, bindings=_short(facts.bindings))
    return _short(facts)


def _short(facts: BindingFacts) -> BindingFacts:
    return dataclasses.replace(facts, files=tuple(dataclasses.replace(f, sites=()) for f in facts.files))


def _package(facts: PackageFacts) -> str:
    application = "unknown: the config cannot be read" if facts.application is None else facts.application
    identity = [
        ("Application", display(application)),
        ("MRENCLAVE", f"{facts.mrenclave} (as signed)"),
        ("MRSIGNER", facts.mrsigner),
        ("ProductID", facts.product_id),
        ("SecurityVersion", facts.security_version),
        ("Debug", "yes: the host can read its memory" if facts.debug else "no"),
        ("Signature date", facts.date),
        ("ATTRIBUTES.FLAGS", facts.attributes),
        ("XFRM", facts.xfrm),
        ("MISCSELECT", facts.miscselect),
        ("Enclave", f"{_size(facts.enclave_size)}{', zero-based' if facts.zero_based else ''}"),
        ("Protected memory", f"{_size(epc_bytes(facts))} in {facts.epc_pages} pages"),
        ("Threads", facts.threads),
        ("File", _size(facts.file_size)),
    ]
    sections = table(((name, size) for name, size in facts.sections.items()), ("section", "bytes"))
    regions = table(
        (
            (_KINDS[one.kind], one.regions, one.pages, "yes" if one.measured else "no")
            for one in facts.regions
        ),
        ("enclave region", "count", "pages", "measured"),
    )
    return "\n\n".join([table([(name, str(value)) for name, value in identity]), sections, regions])


def _bindings(facts: BindingFacts, sites: bool) -> str:
    with_calls = [f for f in facts.files if f.bound or f.trapped]
    malformed = [f for f in facts.files if f.problem]
    quiet = len(facts.files) - len(with_calls) - len(malformed)

    parts = []
    if with_calls:
        rows = [(display(f.path), f.bound, f.trapped) for f in with_calls]
        if len(rows) > 1:
            rows.append(("all", facts.bound, facts.trapped))
        parts.append(table(rows, ("system calls in", "bound", "trapped")))
    if quiet:
        parts.append(f"{quiet} {_more(quiet, with_calls)} no system calls.")
    parts += [_reasons(f) for f in with_calls if f.reasons]
    parts += [f"{display(f.path)}: not bound at all: {f.problem}" for f in malformed]
    if sites:
        parts += [_sites(f) for f in with_calls]
    return "\n\n".join(parts or ["There are no ELF files."])


def _more(count: int, others: list[FileFacts]) -> str:
    return f"{'more ' if others else ''}ELF {'file has' if count == 1 else 'files have'}"


def _reasons(file: FileFacts) -> str:
    lines = [f"{display(file.path)}: trapped are"]
    return "\n".join([*lines, *(f"  {count} {reason}" for reason, count in file.reasons.items())])


def _sites(file: FileFacts) -> str:
    rows = [(f"{site.offset:#x}", _site(site)) for site in file.sites]
    return f"{display(file.path)}:\n" + table(rows, ("offset", "displaced, or why it traps"))


def _site(site: CallSite) -> str:
    if not site.bound:
        return f"traps: {site.reason}"
    return "; ".join([*_assembly(site.before), "syscall", *_assembly(site.after)])


def _assembly(code: str) -> list[str]:
    formatter = Formatter(FormatterSyntax.INTEL)
    formatter.hex_prefix, formatter.hex_suffix = "0x", ""
    formatter.uppercase_hex = False
    formatter.space_after_operand_separator = True
    return [formatter.format(instruction) for instruction in Decoder(64, bytes.fromhex(code))]


def _syscalls(rows: list[tuple[object, ...]]) -> str:
    return table(rows, ("number", "name", "support", "note"))


def _size(size: int) -> str:
    """A size for people: exact in bytes below 1 KiB, else in the largest unit with at most one decimal."""
    value, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"
