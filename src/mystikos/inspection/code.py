"""The facts about code: system calls, bound and trapped, and what else an enclave cannot execute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from mystikos.binding import Bindings, FileBinding, bind_entry
from mystikos.binding.elf import Image, MalformedElf
from mystikos.binding.illegal import NOTHING, IllegalCode, search_illegal
from mystikos.binding.table import Site, decode
from mystikos.inspection.facts import CallSite, CodeFacts, FileCode, IllegalSite
from mystikos.rootfs import Entry

_NOT_IN_TABLE = "not in this package's table, which another version of mystikos wrote"


def code_facts(programs: Sequence[Entry], table: bytes | None, done: Callable[[int], None]) -> CodeFacts:
    """The facts as the table has them: what it does not list traps, whatever this version would do.

    Without a table, those of the table that packaging would write. ``done`` is told the bytes searched.
    """
    found: list[tuple[FileBinding, IllegalCode]] = []
    for entry in programs:
        found.append(_search(entry))
        done(entry.size)
    bindings = Bindings(tuple(binding for binding, _ in found))
    table = bindings.table if table is None else table

    listed = {record.data_offset: record.sites for record in decode(table)}
    files = tuple(_file(one, listed.get(one.data_offset, ()), illegal) for one, illegal in found)
    return CodeFacts(
        bound=sum(file.bound for file in files),
        trapped=sum(file.trapped for file in files),
        table_size=len(table),
        illegal=_summed(file.illegal for file in files),
        files=files,
    )


def _search(entry: Entry) -> tuple[FileBinding, IllegalCode]:
    binding = bind_entry(entry)
    if binding.problem:
        return binding, NOTHING
    try:
        image = Image.parse(entry.read(0, entry.size))
        return binding, NOTHING if image is None else search_illegal(image)
    except MalformedElf as finding:
        return replace(binding, problem=str(finding)), NOTHING


def _file(file: FileBinding, listed: tuple[Site, ...], illegal: IllegalCode) -> FileCode:
    bound = {site.syscall_offset for site in listed}
    trapped = {trap.offset: trap.reason.value for trap in file.traps if trap.offset not in bound}
    for site in file.sites:
        if site.syscall_offset not in bound:
            trapped[site.syscall_offset] = _NOT_IN_TABLE

    sites = [CallSite(s.syscall_offset, True, s.before.hex(), s.after.hex()) for s in listed]
    sites += [CallSite(offset, False, reason=reason) for offset, reason in trapped.items()]
    return FileCode(
        path=file.path,
        bound=len(bound),
        trapped=len(trapped),
        reasons=dict(Counter(trapped.values()).most_common()),
        problem=file.problem,
        illegal=illegal.counts,
        unreadable=illegal.unreadable,
        sites=tuple(sorted(sites, key=lambda site: site.offset)),
        illegal_sites=tuple(
            IllegalSite(one.offset, one.name, one.code.hex(), one.effect.value, one.listed)
            for one in illegal.found
        ),
    )


def _summed(counts: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))
