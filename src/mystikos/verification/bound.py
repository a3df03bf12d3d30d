"""The binding table against the programs in the root file system: nothing but system calls is patched.

The kernel writes a jump over each site, so a table could make a program do what its file does not say. Each
site must be a ``syscall`` of a file that can give way safely. Which of those the packager chooses, and that
it left none out, is its business: ``rebuilding`` tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mystikos.errors import MystError
from mystikos.formats.descriptor import Section
from mystikos.rootfs import printable

if TYPE_CHECKING:
    from mystikos.binding import Site
    from mystikos.package import Package
    from mystikos.rootfs import RootFs

__all__ = ["problem"]

_SYSCALL = b"\x0f\x05"


def problem(package: Package, tree: RootFs) -> str | None:
    """What in the table is not as it must be for the package's ``tree``; the first thing is told."""
    table = package.section(Section.BINDINGS)
    if not table:
        return None
    try:
        return next(_problems(package, tree, bytes(table)), None)
    except MystError as error:
        return str(error)


def _problems(package: Package, tree: RootFs, table: bytes) -> Iterator[str]:
    from mystikos.binding import table as codec

    image = package.section(Section.ROOTFS)
    files = {entry.data_offset: entry for entry in tree.entries if entry.is_file and entry.has_data}
    for record in codec.decode(table):
        entry = files.pop(record.data_offset, None)
        if entry is None or entry.size != record.size:
            place = f"{record.size} bytes at {record.data_offset:#x}"
            yield f"it names {place}, which are no file, or one that it names twice"
            continue
        content = bytes(image[entry.data_offset : entry.data_offset + entry.size])
        found = _file_problem(record.sites, content)
        if found:
            yield f"{printable(entry.path)}: {found}"


def _file_problem(sites: Sequence[Site], content: bytes) -> str | None:
    from mystikos.binding import unsafe_site
    from mystikos.binding.elf import MalformedElf

    end = 0
    for site in sites:
        if site.offset < end:
            return f"the site at {site.offset:#x} reaches into the one before it"
        end = site.offset + site.delta
        if content[site.offset : end] != site.before + _SYSCALL + site.after:
            return f"the site at {site.offset:#x} is not what the file has there"
    try:
        unsafe = unsafe_site(content, sites)
    except MalformedElf as finding:
        return f"it has sites, and is no program: {finding}"
    return None if unsafe is None else f"the site at {unsafe.offset:#x} cannot give way to a jump safely"
