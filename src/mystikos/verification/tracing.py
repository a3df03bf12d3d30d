"""Where damage is: the region, and in the root file system the files, as far as a package tells it.

The descriptor's trace and the build record's marks are what MRENCLAVE was at each place when the package was
made. Where they part from what is measured now, the first changed byte is. They prove nothing: whoever makes
a package writes them.
"""

from __future__ import annotations

from collections.abc import Iterator

from mystikos.errors import RootFsError
from mystikos.formats import cpio
from mystikos.formats.buildrecord import BuildRecordError
from mystikos.formats.descriptor import PAGE, Kind, Region, Section, Slice
from mystikos.measurement import Measurement, mark_stride
from mystikos.package import Package
from mystikos.rootfs import printable
from mystikos.verification.report import Mismatch

__all__ = ["first_mismatch", "shown"]

_SHOWN_FILES = 5


def first_mismatch(package: Package, measured: Measurement) -> Mismatch | None:
    """The first region after which the stored trace and the one found differ, and the files in question."""
    for region, stored, found in zip(package.enclave.regions, package.trace, measured.trace, strict=True):
        if stored != found:
            section = region.source.section.elf_name if isinstance(region.source, Slice) else None
            files = tuple(_files(package, region, measured)) if region.kind is Kind.ROOTFS else ()
            return Mismatch(region.kind.name, region.offset, section, files)
    return None


def shown(mismatch: Mismatch) -> str:
    """A mismatch as a phrase."""
    section = f"{mismatch.section}, " if mismatch.section else ""
    where = f"{section}region {mismatch.region} at {mismatch.offset:#x}"
    names = [printable(path) for path in mismatch.files[:_SHOWN_FILES]]
    if not names:
        return where
    more = f" or {len(mismatch.files) - len(names)} others" if len(mismatch.files) > len(names) else ""
    return f"{where}, {' or '.join(names) if not more else ', '.join(names)}{more}"


def _files(package: Package, region: Region, measured: Measurement) -> Iterator[bytes]:
    """The entries of the archive in the first stretch of pages whose mark differs."""
    try:
        marks = package.build_record.marks
    except BuildRecordError:
        return
    stride = mark_stride(region.pages) * PAGE
    pairs = zip(marks, measured.marks, strict=False)
    number = next((number for number, (stored, found) in enumerate(pairs) if stored != found), None)
    if number is not None:
        yield from _entries(package, number * stride, (number + 1) * stride)


def _entries(package: Package, start: int, end: int) -> Iterator[bytes]:
    """The paths of the entries that have bytes from ``start`` to ``end``; none of a broken archive."""
    image = package.section(Section.ROOTFS)
    found: list[bytes] = []
    at = 0
    try:
        for member in cpio.decode(cpio.BytesReader(image), Section.ROOTFS.elf_name):
            after = member.data_offset + member.header.size + -member.header.size % 4
            if at >= end:
                break
            if after > start:
                found.append(member.header.path)
            at = after
    except RootFsError:
        return
    yield from found
