"""The picture of the enclave: to scale, in order, with a row for each part."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mystikos.formats.descriptor import PAGE
from mystikos.inspection import EnclaveFacts, RegionFacts
from mystikos.report.memory_map import BAR, ROW, WIDTH, MemoryMap, memory_map

MIB = 1 << 20


def region(kind: str, offset: int, pages: int, *, count: int = 1, stride: int = 0) -> RegionFacts:
    return RegionFacts(kind, offset, count, stride, pages, "RW", False, "zeros")


def drawn(size: int, *regions: RegionFacts) -> MemoryMap:
    return memory_map(EnclaveFacts(size, False, 1, 1, 0, 0, (), regions))


def test_parts_and_gaps_follow_each_other_without_a_hole() -> None:
    picture = drawn(8 * MIB, region("KERNEL", 0, 256), region("USER", 4 * MIB, 512))
    assert [block.label for block in picture.blocks] == ["kernel", "not used", "user memory", "not used"]
    assert picture.height == 4 * ROW
    ends = [(block.y, block.y + block.height) for block in picture.blocks]
    assert ends[0][0] == 0
    assert ends[-1][1] == picture.height
    assert all(abs(end - start) < 0.02 for (_, end), (start, _) in pairwise(ends))


def test_heights_are_to_scale() -> None:
    picture = drawn(8 * MIB, region("KERNEL", 0, 256), region("USER", MIB, 1024))
    kernel, user, _ = picture.blocks
    assert user.height == pytest.approx(4 * kernel.height, abs=0.05)
    assert kernel.height == pytest.approx(picture.height / 8, abs=0.05)


def test_the_tiniest_part_is_a_pixel_high_and_has_a_row_like_the_others() -> None:
    picture = drawn(1 << 40, region("CONFIG", 0, 1), region("USER", PAGE, (1 << 28) - 1))
    config, user = picture.blocks
    assert config.height == 1
    points = [tuple(map(float, point.split(","))) for point in config.lines.split()]
    assert points == [(BAR, 0), (WIDTH, 2), (WIDTH, ROW - 2), (BAR, 1)]
    assert user.y + user.height == pytest.approx(picture.height, abs=0.05)


def test_a_part_at_the_very_end_stays_inside_of_the_picture() -> None:
    picture = drawn(1 << 40, region("CONFIG", (1 << 40) - PAGE, 1))
    last = picture.blocks[-1]
    assert last.y + last.height == picture.height


def test_all_thread_blocks_are_one_part() -> None:
    stride = 17 * PAGE
    threads = [
        region("TCS", 0, 1, count=4, stride=stride),
        region("SSA", PAGE, 3, count=4, stride=stride),
        region("THREAD", 5 * PAGE, 3, count=4, stride=stride),
        region("STACK", 9 * PAGE, 8, count=4, stride=stride),
    ]
    (block, _) = drawn(2 * MIB, *threads).blocks
    assert (block.label, block.place) == ("4 thread blocks", f"0x0 to {4 * stride:#x}")
    assert block.note == f"{4 * 15 * 4} KiB, RW"
    assert ("Protected memory", "60 pages, 240 KiB") in block.details
    assert ("kernel stacks", "4 times 8 pages, RW, not measured, filled with zeros") in block.details


def test_neighbours_of_one_kind_are_one_part_with_all_rights() -> None:
    code = RegionFacts("KERNEL", PAGE, 1, 0, 2, "RX", True, ".libmystkernel")
    (kernel, _) = drawn(2 * MIB, region("KERNEL", 0, 1), code).blocks
    assert kernel.note == "12 KiB, RW/RX"
    assert ("kernel", "2 pages, RX, measured, from .libmystkernel") in kernel.details


def test_an_enclave_of_very_many_parts_still_gives_a_picture() -> None:
    kinds = ("KERNEL", "CONFIG")
    regions = [region(kinds[n % 2], n * PAGE, 1) for n in range(400)]
    picture = drawn(2 * MIB, *regions)
    assert len(picture.blocks) == 41
    assert picture.blocks[39].label == "other regions"
    assert picture.blocks[39].place == f"{39 * PAGE:#x} to {400 * PAGE:#x}"


def test_an_enclave_without_regions_is_not_used() -> None:
    (block,) = drawn(2 * MIB).blocks
    assert (block.label, block.group, block.height) == ("not used", "gap", ROW)
