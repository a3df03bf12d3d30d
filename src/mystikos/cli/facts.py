"""The facts of ``myst inspect`` as text: a section for each, headed by what it is about."""

from __future__ import annotations

from collections.abc import Iterator

import click

from mystikos.cli.render import display, table
from mystikos.formats.descriptor import PAGE
from mystikos.inspection.facts import (
    CodeFacts,
    ConfigFacts,
    EnclaveFacts,
    FileCode,
    FileFacts,
    ImageFacts,
    PackageFacts,
    RegionFacts,
    RootFsFacts,
    SectionFacts,
    TreeFacts,
)
from mystikos.inspection.wording import (
    KINDS,
    counted,
    effects,
    identity_rows,
    origin,
    overhead,
    setting_origin,
    setting_value,
    share,
    site_text,
)
from mystikos.text import size


def sections(facts: PackageFacts | TreeFacts, *, files: bool, sites: bool) -> Iterator[str]:
    """Everything, in paragraphs."""
    if isinstance(facts, PackageFacts):
        yield _identity(facts)
        yield _headed("Config", _config(facts.config))
        yield _headed("Enclave", _regions(facts.enclave.regions))
        yield _headed("Protected memory (EPC)", _causes(facts.enclave))
        yield _headed("File", _sections(facts.sections))
        yield _headed("Native code", _images(facts.images))
    yield _headed("Root file system", _rootfs(facts.rootfs, files))
    yield _headed("System calls", "\n\n".join(_calls(facts.code, sites)))
    yield _headed("Illegal in an enclave", "\n\n".join(_illegal(facts.code, sites)))


def _headed(title: str, text: str) -> str:
    return f"{click.style(title, bold=True)}\n{text}"


def _identity(facts: PackageFacts) -> str:
    return table(identity_rows(facts))


def _config(facts: ConfigFacts) -> str:
    if facts.problem:
        return display(facts.problem)
    return table((one.key, setting_value(one), setting_origin(one)) for one in facts.settings)


def _regions(regions: tuple[RegionFacts, ...]) -> str:
    rows = [
        (
            KINDS[one.kind],
            f"{one.offset:#x}",
            one.count,
            one.count * one.pages,
            one.rights,
            "yes" if one.measured else "no",
            one.content,
        )
        for one in regions
    ]
    return table(rows, ("region", "offset", "count", "pages", "rights", "measured", "content"))


def _causes(enclave: EnclaveFacts) -> str:
    rows = [
        (one.cause, one.pages, size(one.pages * PAGE), share(one.pages, enclave.epc_pages), one.because)
        for one in enclave.causes
    ]
    rows.append(("all", enclave.epc_pages, size(enclave.epc_pages * PAGE), "", overhead(enclave)))
    return table(rows, ("for", "pages", "size", "share", "because of"))


def _sections(sections: tuple[SectionFacts, ...]) -> str:
    rows = [(one.name, f"{one.offset:#x}", one.size, one.sha256) for one in sections]
    return table(rows, ("section", "offset", "bytes", "SHA-256"))


def _images(images: tuple[ImageFacts, ...]) -> str:
    rows = [(one.name, one.size, origin(one), one.sha256) for one in images]
    return table(rows, ("image", "bytes", "origin", "SHA-256"))


def _rootfs(facts: RootFsFacts, files: bool) -> str:
    kinds = [sum(one.kind == kind for one in facts.files) for kind in ("file", "directory", "symlink")]
    counted = f"{_count(kinds[0], 'file')}, {_count(kinds[1], 'directory', 'directories')}, "
    counted += f"{_count(kinds[2], 'symbolic link')}; {size(facts.size)} as an archive"
    if not files:
        return f"{counted} (--files lists them)"
    rows = [
        (one.mode, one.kind, one.size, one.pages, one.sha256 or "", f"{display(one.path)}{_link(one)}")
        for one in facts.files
    ]
    return f"{counted}\n\n" + table(rows, ("mode", "kind", "bytes", "pages", "SHA-256", "path"))


def _link(file: FileFacts) -> str:
    if file.target is not None:
        return f" → {display(file.target)}"
    return "" if file.linked_to in (None, file.path) else f" = {display(file.linked_to or b'')}"


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


def _calls(facts: CodeFacts, sites: bool) -> Iterator[str]:
    if not facts.files:
        yield "There are no ELF files."
        return
    with_calls = [file for file in facts.files if file.bound or file.trapped]
    malformed = [file for file in facts.files if file.problem]
    quiet = len(facts.files) - len(with_calls) - len([file for file in malformed if file not in with_calls])

    if with_calls:
        rows = [(display(file.path), file.bound, file.trapped) for file in with_calls]
        if len(rows) > 1:
            rows.append(("all", facts.bound, facts.trapped))
        yield table(rows, ("in", "bound", "trapped"))
    if quiet:
        yield f"{quiet} {'more ' if with_calls else ''}ELF {'file has' if quiet == 1 else 'files have'} none."
    yield from (_reasons(file) for file in with_calls if file.reasons)
    yield from (f"{display(file.path)}: not bound at all: {file.problem}" for file in malformed)
    if sites:
        yield from (_sites(file) for file in with_calls)


def _reasons(file: FileCode) -> str:
    lines = [f"{display(file.path)}: trapped are"]
    return "\n".join([*lines, *(f"  {count} {reason}" for reason, count in file.reasons.items())])


def _sites(file: FileCode) -> str:
    rows = [(f"{site.offset:#x}", site_text(site)) for site in file.sites]
    return f"{display(file.path)}:\n" + table(rows, ("offset", "displaced, or why it traps"))


def _illegal(facts: CodeFacts, sites: bool) -> Iterator[str]:
    found = [file for file in facts.files if file.illegal]
    if not found:
        yield "Nothing but system calls."
    else:
        rows = [(display(file.path), counted(file.illegal)) for file in found]
        if len(rows) > 1:
            rows.append(("all", counted(facts.illegal)))
        yield table(rows, ("in", "instructions"))
        yield "\n".join(f"{name}: {effect}" for name, effect in effects(facts))
    for file in facts.files:
        if file.unreadable:
            yield f"{display(file.path)}: {file.unreadable} bytes of code are no instructions; may be data"
    if sites:
        yield from (_illegal_sites(file) for file in found)


def _illegal_sites(file: FileCode) -> str:
    rows = [
        (f"{site.offset:#x}", site.name, site.code, "" if site.listed else "between functions, may be data")
        for site in file.illegal_sites
    ]
    left = sum(file.illegal.values()) - len(rows)
    more = f"\nand {left} more" if left else ""
    return f"{display(file.path)}:\n" + table(rows, ("offset", "instruction", "bytes", "")) + more
