"""Stage 4, accounted: what each region and each file of an enclave adds to its size and its measurement.

A page of protected memory (EPC) costs 4 KiB while the enclave runs; adding it hashes one record of 64
bytes, and measuring its content 5120 bytes more (SDM 3D, "EADD", "EEXTEND")::

    costs = account(layout.enclave, rootfs, measurement)
    costs.mrenclave, costs.epc_pages, costs.hashed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mystikos.formats.descriptor import PAGE, Enclave, Kind, Region, Slice, Tcs

if TYPE_CHECKING:
    from mystikos.measurement import Measurement
    from mystikos.rootfs import RootFs

__all__ = ["Costs", "FileCost", "RegionCost", "account", "file_costs"]

_RECORD = 64
_MEASURED_PAGE = _RECORD + 16 * (_RECORD + 256)


@dataclass(frozen=True)
class FileCost:
    """One entry of the root file system image, header and padding included; None is the archive's end.

    A page counts for the entry that its first byte belongs to, so the pages of all entries are those of
    the region.
    """

    path: bytes | None
    size: int  # of the file's own content
    measured: int  # bytes of the image
    pages: int
    hashed: int


@dataclass(frozen=True)
class RegionCost:
    """One region: where it is, its EPC pages, the content bytes measured and all bytes hashed for it."""

    kind: str
    offset: int
    pages: int
    measured: int
    hashed: int
    files: tuple[FileCost, ...] = ()


@dataclass(frozen=True)
class Costs:
    """MRENCLAVE (hexadecimal) and what it is made of."""

    mrenclave: str
    enclave_size: int
    epc_pages: int
    measured: int
    hashed: int  # with the record of ECREATE
    regions: tuple[RegionCost, ...]


def account(enclave: Enclave, rootfs: RootFs, measurement: Measurement) -> Costs:
    """Account for every page of an enclave whose root file system region holds ``rootfs``."""
    regions = tuple(_region(region, rootfs) for region in enclave.regions)
    return Costs(
        mrenclave=measurement.mrenclave.hex(),
        enclave_size=enclave.size,
        epc_pages=sum(region.pages for region in regions),
        measured=sum(region.measured for region in regions),
        hashed=_RECORD + sum(region.hashed for region in regions),
        regions=regions,
    )


def _region(region: Region, rootfs: RootFs) -> RegionCost:
    return RegionCost(
        kind=region.kind.name,
        offset=region.offset,
        pages=region.pages,
        measured=_content_size(region),
        hashed=region.pages * (_MEASURED_PAGE if region.measured else _RECORD),
        files=file_costs(rootfs) if region.kind is Kind.ROOTFS else (),
    )


def _content_size(region: Region) -> int:
    if isinstance(region.source, Slice):
        return region.source.size
    return PAGE if isinstance(region.source, Tcs) else 0


def file_costs(rootfs: RootFs) -> tuple[FileCost, ...]:
    """What each entry of a root file system adds, in the order of the image."""
    files, last = [], 0
    for entry, start, end in rootfs.extents():
        files.append(_file(entry.path, entry.size, start, end))
        last = end
    return (*files, _file(None, 0, last, rootfs.size))


def _file(path: bytes | None, size: int, start: int, end: int) -> FileCost:
    pages = -(-end // PAGE) - -(-start // PAGE)
    return FileCost(path, size, end - start, pages, pages * _MEASURED_PAGE)
