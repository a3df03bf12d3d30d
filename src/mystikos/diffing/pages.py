"""The first page at which the measurements of two enclaves part.

MRENCLAVE is folded in the order of the regions, so the first differing page is the first of which offset,
rights or content differ. Both packages are read up to there, and no further.
"""

from __future__ import annotations

from mystikos.diffing.content import first_difference
from mystikos.diffing.findings import FirstPage, LayoutChange, Pages
from mystikos.errors import RootFsError
from mystikos.formats import cpio
from mystikos.formats.descriptor import PAGE, Kind, Region, Section, Slice
from mystikos.package import Package

__all__ = ["first_page", "layout_changes"]


def first_page(before: Package, after: Package, rootfs_parting: int | None) -> FirstPage | None:
    """Where the measurements part; ``rootfs_parting`` is where in their sections the root file systems do."""
    one, other = before.enclave.regions, after.enclave.regions
    for old, new in zip(one, other, strict=False):
        found = _parting(before, after, old, new, rootfs_parting)
        if found is not None:
            return found
    if len(one) == len(other):
        return None
    extra = max(one, other, key=len)[min(len(one), len(other))]
    longer_before = len(one) > len(other)
    return FirstPage(
        extra.offset, extra.kind.name if longer_before else None, None if longer_before else extra.kind.name
    )


def _parting(
    before: Package, after: Package, old: Region, new: Region, rootfs_parting: int | None
) -> FirstPage | None:
    if (old.offset, old.secinfo, old.measured) != (new.offset, new.secinfo, new.measured):
        return FirstPage(min(old.offset, new.offset), old.kind.name, new.kind.name)
    common = min(old.pages, new.pages) * PAGE
    at = _content_parting(before, after, old, new, rootfs_parting)
    if at is not None and at < common:
        return FirstPage(
            old.offset + at // PAGE * PAGE,
            old.kind.name,
            new.kind.name,
            _owner(before, old, at),
            _owner(after, new, at),
        )
    if old.pages != new.pages:
        return FirstPage(
            old.offset + common,
            old.kind.name if old.pages > new.pages else None,
            new.kind.name if new.pages > old.pages else None,
            _owner(before, old, common),
            _owner(after, new, common),
        )
    return None


def _content_parting(
    before: Package, after: Package, old: Region, new: Region, rootfs_parting: int | None
) -> int | None:
    """The first differing byte, counted from the regions' start."""
    if isinstance(old.source, Slice) and isinstance(new.source, Slice):
        if old.kind is new.kind is Kind.ROOTFS and old.source.offset == new.source.offset == 0:
            return rootfs_parting
        return first_difference(_bytes(before, old.source), _bytes(after, new.source))
    return None if old.source == new.source else 0


def _bytes(package: Package, source: Slice) -> memoryview:
    return package.section(source.section)[source.offset : source.offset + source.size]


def _owner(package: Package, region: Region, at: int) -> bytes | None:
    """What the byte ``at`` of a region belongs to: an entry of the root file system, a part of the config."""
    if not isinstance(region.source, Slice):
        return None
    at += region.source.offset
    if region.source.section is Section.ROOTFS:
        return _entry_at(package, at)
    if region.source.section is Section.CONFIG and at < region.source.size:
        if at < PAGE:
            return b"parameter page"
        return b"config record" if at < package.parameters.record.end else b"config JSON"
    return None


def _entry_at(package: Package, at: int) -> bytes | None:
    """The path of the archive's entry that the byte ``at`` belongs to."""
    image = package.section(Section.ROOTFS)
    if at >= len(image):
        return None
    try:
        for member in cpio.decode(cpio.BytesReader(image), ".mystrootfs"):
            if at < member.data_offset + member.header.size + -member.header.size % 4:
                return member.header.path
    except RootFsError:
        return None
    return cpio.TRAILER_NAME


def layout_changes(before: Package, after: Package) -> tuple[LayoutChange, ...]:
    """Every kind of region that moved, grew or shrank."""
    changes = []
    for kind in Kind:
        old, new = before.enclave.of_kind(kind), after.enclave.of_kind(kind)
        if [_place(region) for region in old] != [_place(region) for region in new]:
            changes.append(LayoutChange(kind.name, _pages(old), _pages(new)))
    return tuple(changes)


def _place(region: Region) -> tuple[int, int, int]:
    return region.offset, region.pages, region.secinfo


def _pages(regions: tuple[Region, ...] | list[Region]) -> Pages | None:
    if not regions:
        return None
    rights = ", ".join(dict.fromkeys(region.rights for region in regions))
    return Pages(len(regions), sum(region.pages for region in regions), regions[0].offset, rights)
