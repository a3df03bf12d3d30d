from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from tests.support import elves, packages

from mystikos import _abi, binding, rootfs
from mystikos.errors import LayoutError, RuntimeMissingError
from mystikos.formats import elf, parameters
from mystikos.formats.descriptor import PAGE, REG_R, REG_RW, REG_RWX, REG_RX, Kind, Section, Slice, Tcs
from mystikos.formats.parameters import Parameters
from mystikos.layout import Kernel, Layout, plan


def planned(directory: Path, application: bytes | None = None, **settings: object) -> Layout:
    packages.appdir(directory, {"etc/data": b"x" * 5000}, application=application)
    return plan_of(directory, **settings)


def plan_of(directory: Path, **settings: object) -> Layout:
    root = rootfs.scan(directory)
    kernel = Kernel.parse(elves.kernel(), "libmystkernel")
    return plan(packages.config(**settings), root, binding.bind(root), kernel, elves.crt())


def parameters_of(layout: Layout) -> Parameters:
    (config,) = layout.contents[Section.CONFIG].chunks()
    return parameters.decode(bytes(config[:PAGE]))


def test_regions_stand_in_the_order_of_the_memory_map(tmp_path: Path) -> None:
    layout = planned(tmp_path)
    kinds = [kind for kind, _ in itertools.groupby(region.kind for region in layout.enclave.regions)]
    block = [Kind.TCS, Kind.SSA, Kind.THREAD, Kind.STACK]
    assert kinds == [
        Kind.KERNEL, Kind.CRT, Kind.CONFIG, Kind.BINDINGS, Kind.ROOTFS, *block, *block, Kind.HEAP, Kind.USER
    ]  # fmt: skip


def test_every_page_of_address_space_outside_of_thread_blocks_is_used(tmp_path: Path) -> None:
    layout = planned(tmp_path)
    holes = {Kind.SSA: PAGE, Kind.THREAD: PAGE}
    for before, after in itertools.pairwise(layout.enclave.regions):
        assert after.offset - before.end == holes.get(before.kind, 0)


def test_rights_and_measuring_follow_the_kind(tmp_path: Path) -> None:
    for region in planned(tmp_path).enclave.regions:
        expected = {
            Kind.CRT: (REG_RX, True),
            Kind.CONFIG: (REG_R, True),
            Kind.BINDINGS: (REG_R, True),
            Kind.ROOTFS: (REG_R, True),
            Kind.TCS: (_abi.SECINFO_TCS, True),
            Kind.SSA: (REG_RW, False),
            Kind.THREAD: (REG_RW, False),
            Kind.STACK: (REG_RW, False),
            Kind.HEAP: (REG_RW, False),
            Kind.USER: (REG_RWX, False),
        }.get(region.kind)
        assert expected in (None, (region.secinfo, region.measured))


def test_kernel_segments_become_regions_and_its_bss_zero_pages(tmp_path: Path) -> None:
    regions = planned(tmp_path).enclave.of_kind(Kind.KERNEL)
    assert [(r.offset, r.pages, r.secinfo, r.measured, r.source) for r in regions] == [
        (0x0000, 1, REG_R, True, Slice(Section.KERNEL, 0, 232)),
        (0x1000, 2, REG_RX, True, Slice(Section.KERNEL, 0x1000, 5000)),
        (0x3000, 1, REG_RW, True, Slice(Section.KERNEL, 0x3000, 1200)),
        (0x4000, 2, REG_RW, False, None),
    ]


def test_thread_blocks_point_at_their_own_parts(tmp_path: Path) -> None:
    layout = planned(tmp_path, MaxThreads=3)
    config = layout.enclave.of_kind(Kind.CONFIG)[0]
    threads = layout.enclave.of_kind(Kind.TCS)
    assert [thread.offset - threads[0].offset for thread in threads] == [0, 17 * PAGE, 34 * PAGE]
    for thread, ssa, area, stack in zip(
        threads, *(layout.enclave.of_kind(kind) for kind in (Kind.SSA, Kind.THREAD, Kind.STACK)), strict=True
    ):
        assert thread.source == Tcs(ssa.offset, 0x1040, config.offset, area.offset, nssa=3)
        assert (ssa.pages, area.pages, stack.pages) == (3, 3, 8)


def test_tcs_page_holds_the_fields_of_the_sdm() -> None:
    page = Tcs(ossa=0x1000, oentry=0x2345, ofsbase=0x6000, ogsbase=0x7000).page()
    assert len(page) == PAGE
    assert page[:16] == bytes(16)
    assert int.from_bytes(page[16:24], "little") == 0x1000
    assert page[24:32].hex() == "0000000003000000"
    assert int.from_bytes(page[32:40], "little") == 0x2345
    assert page[40:48] == bytes(8)
    assert int.from_bytes(page[48:56], "little") == 0x6000
    assert int.from_bytes(page[56:64], "little") == 0x7000
    assert page[64:72] == b"\xff" * 8
    assert not any(page[72:])


def test_parameter_page_tells_where_everything_is(tmp_path: Path) -> None:
    layout = planned(tmp_path, Debug=1)
    found = parameters_of(layout)
    by_kind = {region.kind: region for region in layout.enclave.regions}
    assert (found.zero_based, found.debug, found.enclave_size) == (False, True, layout.enclave.size)
    assert found.kernel == parameters.Place(0, 0x6000)
    assert found.rootfs == parameters.Place(by_kind[Kind.ROOTFS].offset, layout.contents[Section.ROOTFS].size)
    assert found.config.size == layout.contents[Section.CONFIG].size
    assert (found.pubkeys.size, found.roothashes.size) == (0, 0)
    assert found.bindings.offset < found.pubkeys.offset == found.roothashes.offset == found.rootfs.offset
    assert (found.heap.offset, found.user.offset) == (by_kind[Kind.HEAP].offset, by_kind[Kind.USER].offset)
    assert (found.user.size, found.window.size) == (2 << 20, 0)


def test_config_section_holds_record_and_json_as_given(tmp_path: Path) -> None:
    layout = planned(tmp_path)
    config = packages.config()
    found = parameters_of(layout)
    (section,) = layout.contents[Section.CONFIG].chunks()
    assert bytes(section[found.record.offset : found.record.end]) == config.record()
    assert bytes(section[found.json.offset : found.json.end]) == config.source


def test_size_is_a_power_of_two_that_holds_everything(tmp_path: Path) -> None:
    enclave = planned(tmp_path, MemorySize="100m").enclave
    assert enclave.size == 128 << 20
    assert enclave.size // 2 < enclave.regions[-1].end <= enclave.size


def test_heap_grows_with_the_number_of_files(tmp_path: Path) -> None:
    few = planned(tmp_path)
    for n in range(64):
        (tmp_path / f"file{n}").touch()
    more = plan_of(tmp_path)
    heaps = [layout.enclave.of_kind(Kind.HEAP)[0].size for layout in (few, more)]
    assert heaps[1] - heaps[0] == 64 * 512


def test_fixed_address_application_gets_a_zero_based_enclave_with_a_window(tmp_path: Path) -> None:
    layout = planned(tmp_path, elves.application(at=0x400000))
    window, *rest = layout.enclave.regions
    assert layout.enclave.zero_based
    assert (window.kind, window.offset, window.end) == (Kind.EXEC_WINDOW, 0x400000, 0x404000)
    assert (window.secinfo, window.measured) == (REG_RWX, False)
    assert rest[0].offset == 0x404000
    found = parameters_of(layout)
    assert found.zero_based
    assert found.kernel.offset == 0x404000
    assert found.window == parameters.Place(0x400000, 0x4000)


def test_the_interpreter_that_a_script_names_decides_the_window(tmp_path: Path) -> None:
    packages.appdir(
        tmp_path, {"bin/sh": elves.application(at=0x400000)}, application=b"#! /bin/sh -e\necho hello\n"
    )
    (tmp_path / "bin/sh").chmod(0o755)
    assert plan_of(tmp_path).enclave.of_kind(Kind.EXEC_WINDOW)[0].offset == 0x400000


def test_start_address_moves_a_zero_based_enclave_only(tmp_path: Path) -> None:
    address = 0x7000000
    moved = planned(tmp_path, CreateZeroBaseEnclave=True, EnclaveStartAddress=address).enclave
    assert (moved.zero_based, moved.regions[0].offset) == (True, address)
    assert planned(tmp_path, CreateZeroBaseEnclave=True).enclave.regions[0].offset == 0x10000


def test_a_window_above_the_start_address_wins(tmp_path: Path) -> None:
    enclave = planned(tmp_path, elves.application(at=0x400000), EnclaveStartAddress=0x20000).enclave
    assert enclave.of_kind(Kind.KERNEL)[0].offset == 0x404000


@pytest.mark.parametrize(
    ("application", "told"),
    [
        (b"", "not an ELF file"),
        (b"MZ", "not an ELF file"),
        (b"#!\n", "names no interpreter"),
        (b"#!/bin/app\n", "interpreters call each other"),
        (b"#!/bin/absent\n", "not in the application directory"),
        (elves.application(at=0x1000), "linked to addresses"),
        (elves.make_elf(elf.ET_EXEC, [(elves.RX, 1 << 60, b"x", 1)]), "linked to addresses"),
        (elves.make_elf(1, []), "ELF type 1"),
        (elves.application()[:40], "ends inside the ELF header"),
    ],
)
def test_what_is_no_program_is_refused(tmp_path: Path, application: bytes, told: str) -> None:
    packages.appdir(tmp_path)
    (tmp_path / "bin/app").write_bytes(application)
    with pytest.raises(LayoutError, match=told):
        plan_of(tmp_path)


def test_a_missing_directory_or_unexecutable_program_is_refused(tmp_path: Path) -> None:
    packages.appdir(tmp_path)
    (tmp_path / "bin/app").chmod(0o644)
    with pytest.raises(LayoutError, match="mode 0644"):
        plan_of(tmp_path)
    with pytest.raises(LayoutError, match="not in the application directory"):
        plan_of(tmp_path, ApplicationPath="/bin/absent")
    with pytest.raises(LayoutError, match="not a regular file"):
        plan_of(tmp_path, ApplicationPath="/bin")


@pytest.mark.parametrize(
    ("kernel", "told"),
    [
        (b"", "not an ELF"),
        (elves.kernel()[:-5000], "beyond the file's end"),
        (elves.launcher(), "not a static position-independent"),
        (elves.make_elf(elf.ET_DYN, []), "nothing to load"),
        (elves.make_elf(elf.ET_DYN, [(7, 0, b"x" * 100, 100)]), "rights 0x7"),
        (elves.make_elf(elf.ET_DYN, [(elves.RX, 0x1000, b"x" * 100, 100)], entry=0x1000), "not at address 0"),
        (elves.make_elf(elf.ET_DYN, [(elves.RX, 0, None, 200)], entry=999), "entry points"),
        (elves.make_elf(elf.ET_DYN, [(elves.R, 0, None, 200)], entry=64), "entry points"),
        (elves.make_elf(elf.ET_DYN, [(elves.RX, 0, b"x" * 99, 99)]), "with its ELF header"),
        (elves.make_elf(elf.ET_DYN, [(elves.RX, 0, b"x", 1), (elves.R, 8, b"x", 1)]), "shares a page"),
    ],
)
def test_a_broken_kernel_is_refused(kernel: bytes, told: str) -> None:
    with pytest.raises(RuntimeMissingError, match=told):
        Kernel.parse(kernel, "libmystkernel")
