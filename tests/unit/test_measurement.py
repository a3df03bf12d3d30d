from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest
from tests.golden import measurements
from tests.support.mrenclave import reference

from mystikos import _abi
from mystikos.errors import LayoutError
from mystikos.formats.content import BytesContent
from mystikos.formats.descriptor import (
    PAGE,
    REG_R,
    REG_RW,
    REG_RX,
    Enclave,
    Kind,
    Region,
    Section,
    Slice,
    Tcs,
    page_count,
)
from mystikos.measurement import _Hasher, mark_stride, measure

MIB = 1 << 20


@dataclass(frozen=True)
class Pieces:
    """A content that comes in pieces of one size."""

    data: bytes
    piece: int

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self) -> Iterator[bytes]:
        for at in range(0, len(self.data), self.piece):
            yield self.data[at : at + self.piece]


def noise(size: int) -> bytes:
    """Bytes that differ from page to page."""
    return b"".join(n.to_bytes(4, "big") for n in range(size // 4 + 1))[:size]


def rootfs_region(size: int, offset: int = 0) -> Region:
    return Region(Kind.ROOTFS, offset, page_count(size), REG_R, True, Slice(Section.ROOTFS, 0, size))


def marks_of(data: bytes, kind: Kind = Kind.ROOTFS) -> tuple[bytes, ...]:
    region = Region(kind, 0, page_count(len(data)), REG_R, True, Slice(Section.ROOTFS, 0, len(data)))
    return measure(one_region(region), {Section.ROOTFS: Pieces(data, 1000)}).marks


@pytest.mark.parametrize("pages", [1, 127, 128, 129, 1024])
def test_a_small_root_file_system_has_a_mark_for_every_page(pages: int) -> None:
    data = noise(pages * PAGE - 5)
    marks = marks_of(data)
    assert len(marks) == pages
    changed = bytearray(data)
    changed[(pages - 1) // 2 * PAGE + 7] ^= 1
    same = [one == other for one, other in zip(marks, marks_of(bytes(changed)), strict=True)]
    assert same == [True] * ((pages - 1) // 2) + [False] * (pages - (pages - 1) // 2)


@pytest.mark.parametrize(("pages", "stride"), [(1025, 2), (5000, 5), (131_072, 128), (500_000, 489)])
def test_a_large_one_has_at_most_1024(pages: int, stride: int) -> None:
    assert mark_stride(pages) == stride
    if pages < 10_000:
        assert len(marks_of(noise(pages * PAGE))) == -(-pages // stride) <= 1024


def test_marks_are_what_mrenclave_would_be_there() -> None:
    data = noise(3 * PAGE)
    enclave = one_region(rootfs_region(len(data)))
    part = replace(enclave, regions=(rootfs_region(2 * PAGE),))
    contents = {Section.ROOTFS: BytesContent(data[: 2 * PAGE])}
    assert marks_of(data)[1] == reference(part, contents)[:8]


def test_other_regions_have_no_marks() -> None:
    assert marks_of(noise(PAGE), Kind.CRT) == ()


def one_region(region: Region) -> Enclave:
    return Enclave(max(2 * MIB, 1 << (region.end - 1).bit_length()), False, (region,))


@pytest.mark.parametrize(
    ("size", "piece"),
    [
        *itertools.product([1, 255, 256, 4095, 4096, 4097], [1, 4096, 100_000]),
        *itertools.product([3 * MIB, 3 * MIB + 5], [1000, 4096, 100_000, MIB, 4 * MIB]),
    ],
)
def test_streamed_content_measures_as_the_reference_does(size: int, piece: int) -> None:
    enclave = one_region(rootfs_region(size))
    contents = {Section.ROOTFS: Pieces(noise(size), piece)}
    assert measure(enclave, contents).mrenclave == reference(enclave, contents)


def test_every_kind_of_region_measures_as_the_reference_does() -> None:
    enclave = Enclave(
        16 * MIB,
        False,
        (
            Region(Kind.KERNEL, 0, 1, REG_R, True, Slice(Section.KERNEL, 0, 100)),
            Region(Kind.KERNEL, PAGE, 2, REG_RX, True, Slice(Section.KERNEL, PAGE, 5000)),
            Region(Kind.KERNEL, 4 * PAGE, 3, REG_RW),
            Region(Kind.TCS, 8 * PAGE, 1, _abi.SECINFO_TCS, True, Tcs(9 * PAGE, 0x1234, 0, 12 * PAGE)),
            Region(Kind.SSA, 9 * PAGE, 3, REG_RW),
            Region(Kind.STACK, 12 * PAGE, 200, REG_RW),
            Region(Kind.USER, 12 * MIB, 1024, REG_RW),
        ),
    )
    contents = {Section.KERNEL: BytesContent(noise(3 * PAGE))}
    assert measure(enclave, contents).mrenclave == reference(enclave, contents)


def test_more_added_pages_than_one_batch_measure_as_the_reference_does() -> None:
    enclave = one_region(Region(Kind.USER, PAGE, 20_001, REG_RW))
    assert measure(enclave, {}).mrenclave == reference(enclave, {})


def test_measurement_depends_on_the_enclaves_size_and_on_a_regions_place_and_rights() -> None:
    content = {Section.ROOTFS: BytesContent(noise(PAGE))}
    region = rootfs_region(PAGE)
    enclaves = [
        one_region(region),
        Enclave(4 * MIB, False, (region,)),
        one_region(rootfs_region(PAGE, offset=PAGE)),
        one_region(Region(Kind.ROOTFS, 0, 1, REG_RW, True, Slice(Section.ROOTFS, 0, PAGE))),
        one_region(Region(Kind.HEAP, 0, 1, REG_R)),
    ]
    assert len({measure(enclave, content).mrenclave for enclave in enclaves}) == len(enclaves)


def test_trace_tells_what_the_measurement_would_be_after_each_region() -> None:
    contents = {Section.ROOTFS: Pieces(noise(MIB + 1), 70_000)}
    regions = (
        Region(Kind.HEAP, 0, 1, REG_RW),
        rootfs_region(MIB + 1, PAGE),
        Region(Kind.USER, 3 * MIB, 9, REG_RW),
    )
    found = measure(Enclave(4 * MIB, False, regions), contents)
    parts = [Enclave(4 * MIB, False, regions[:count]) for count in (1, 2, 3)]
    assert found.trace == tuple(reference(part, contents) for part in parts)
    assert found.trace[-1] == found.mrenclave


def test_progress_counts_every_content_byte_once() -> None:
    data = noise(2 * MIB + 3)
    seen: list[int] = []
    measure(
        one_region(rootfs_region(len(data))), {Section.ROOTFS: Pieces(data, 99_999)}, progress=seen.append
    )
    assert sum(seen) == len(data)


def test_content_that_ends_early_is_refused() -> None:
    with pytest.raises(LayoutError, match="ends at"):
        measure(one_region(rootfs_region(PAGE)), {Section.ROOTFS: Pieces(noise(100), 50)})


def test_a_failing_stream_ends_the_measurement() -> None:
    class Broken(Pieces):
        def chunks(self) -> Iterator[bytes]:
            yield self.data[:10]
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        measure(one_region(rootfs_region(PAGE)), {Section.ROOTFS: Broken(noise(PAGE), 1)})


def test_known_measurements_are_still_those_of_the_reference() -> None:
    assert measurements.FILE.read_text() == measurements.made(), "packages signed before would not load"


@pytest.mark.parametrize("name", measurements.cases())
def test_known_measurements_are_found_again(name: str) -> None:
    enclave, contents = measurements.cases()[name]
    assert measure(enclave, contents).mrenclave.hex() == json.loads(measurements.FILE.read_text())[name]


def test_who_is_interrupted_does_not_wait_for_the_hashing_thread() -> None:
    go = threading.Event()
    with suppress(KeyboardInterrupt), _Hasher() as hasher:
        hashing = hasher._executor.submit(go.wait, 60)
        raise KeyboardInterrupt

    assert not hashing.done()
    go.set()
