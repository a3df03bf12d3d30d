"""The hand-written numbers of the reference pages are the code's; Rust sources are read right."""

from __future__ import annotations

import re

import pytest

import format_docs
import rust_source
from mystikos import _abi
from mystikos.formats import buildrecord, descriptor, sigstruct
from mystikos.formats.descriptor import PAGE, Kind, Section
from tests.support.pages import ROOT

PAGE_TEXT = (ROOT / "docs/reference/package-format.md").read_text(encoding="utf-8")
PACKAGE = format_docs.source("package")
BLOCK = format_docs.source("block")

STRIDE = BLOCK.constant("STRIDE")
HOLES = 2 * BLOCK.constant("HOLE_PAGES")


def test_the_sections_stand_in_the_order_of_the_code() -> None:
    rows = re.findall(r"^\| `(\.\w+)` \|", PAGE_TEXT, re.MULTILINE)

    assert list(_abi.SECTIONS) == PACKAGE.constant("SECTIONS")
    assert [section.elf_name for section in Section] == rows == [*_abi.SECTIONS, buildrecord.SECTION]


def test_the_kinds_of_regions_are_those_of_the_code() -> None:
    table = PAGE_TEXT.split("<!-- generated: kind -->", 1)[1].split("<!-- end -->", 1)[0]
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", table, re.MULTILINE)

    assert {(int(number), name) for number, name in rows} == {(kind.value, kind.name) for kind in Kind}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (r"a page is (\d+)\sbytes", [PAGE]),
        (r"SIZE is the next power of two, and at least (\d+) MiB", [_abi.MIN_ENCLAVE_SIZE >> 20]),
        (r"\| TCS \| (\d+) \(measured\) \|", [BLOCK.constant("TCS_PAGES")]),
        (
            r"NSSA = (\d+) frames . SSAFRAMESIZE = (\d+) page \| `SSA`",
            [_abi.NSSA, _abi.SSA_FRAME_PAGES],
        ),
        (r"growing down \| (\d+) \| `THREAD`", [_abi.THREAD_AREA_PAGES]),
        (r"\| kernel stack \| (\d+) \| `STACK`", [_abi.KERNEL_STACK_PAGES]),
        (r"(\d+) pages of address space \(its stride\)", [STRIDE // PAGE]),
        (r"and (\d+) pages of EPC", [STRIDE // PAGE - HOLES]),
        (r"`EnclaveStartAddress` \(default (0x\w+)\)", [_abi.DEFAULT_START_ADDRESS]),
        (r"Kernel heap: (\d+) MiB", [_abi.HEAP_BASE_SIZE >> 20]),
        (r"MiB \+ (\d+) bytes . \(number of root file", [_abi.HEAP_BYTES_PER_ENTRY]),
        (r"`CSSA` 0, `NSSA` (\d+), ", [_abi.NSSA]),
        (r"`e_entry \+ (\d+)`, used by the `linux` target", [_abi.KERNEL_DIRECT_ENTRY_OFFSET]),
        (r"bits R (\d), W (\d), X (\d),", [_abi.SECINFO_R, _abi.SECINFO_W, _abi.SECINFO_X]),
        (r"TCS (0x\d+), REG (0x\d+)", [_abi.SECINFO_TCS, _abi.SECINFO_REG]),
        (r"at most (\d+) of them", [descriptor._MAX_REGIONS]),
        (r"XFRM = (\d), mask = ~(0x\w+)", [_abi.XFRM, _abi.XFRM_MASK ^ (1 << 64) - 1]),
        (r"MISCSELECT = (\d) \(EXINFO\)", [_abi.MISCSELECT]),
    ],
)
def test_numbers_in_the_text_are_those_of_the_code(text: str, values: list[int]) -> None:
    found = re.search(text, PAGE_TEXT)

    assert found is not None
    assert [int(number, 0) for number in found.groups()] == values


def test_powers_in_the_text_are_those_of_the_code() -> None:
    pages, size = re.findall(r"at\smost\s2\^(\d+)\s(?:pages|bytes)", PAGE_TEXT)

    assert (1 << int(pages), 1 << int(size)) == (descriptor._MAX_PAGES, descriptor._MAX_ENCLAVE_SIZE)


def test_all_ones_are_all_ones() -> None:
    assert _abi.ATTRIBUTES_MASK == (1 << 64) - 1
    assert _abi.MISCMASK == (1 << 32) - 1
    assert sigstruct.SIZE == _abi.SIGSTRUCT_SIZE


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("DescriptorHeader", _abi.DESCRIPTOR_HEADER_SIZE),
        ("RegionRecord", _abi.REGION_RECORD_SIZE),
        ("Parameters", 280),
    ],
)
def test_structures_have_the_size_that_the_packager_writes(name: str, size: int) -> None:
    """The sizes are asserted by the Rust compiler, too."""
    struct = PACKAGE.structs[name]

    assert struct.size == size
    assert [one.offset for one in struct.fields] == sorted(one.offset for one in struct.fields)


def test_every_structure_and_every_kind_is_on_the_page() -> None:
    assert set(re.findall(r"<!-- generated: (\w+) -->", PAGE_TEXT)) == {*PACKAGE.structs, "kind"} - {"Span"}


def test_fields_lie_as_c_lays_them_out() -> None:
    source = rust_source.parse(
        "/// Two.\n#[repr(C)]\npub struct Two {\n    /// One byte.\n    pub a: u8,\n    pub b: u32,\n}\n\n"
        "/// All.\n#[derive(\n    Clone, Copy,\n)]\n#[repr(C)]\npub struct All {\n    pub c: [u16; 3],\n"
        "    pub d: Two,\n    pub e: u8,\n    pub f: u64,\n}\n"
    )

    two, whole = source.structs["Two"], source.structs["All"]
    assert [(one.name, one.offset, one.size) for one in two.fields] == [("a", 0, 1), ("b", 4, 4)]
    assert two.fields[0].doc == "One byte."
    assert [(one.name, one.offset) for one in whole.fields] == [("c", 0), ("d", 8), ("e", 16), ("f", 24)]
    assert (two.size, whole.size, whole.alignment) == (8, 32, 8)


def test_constants_have_their_comments_modules_and_values() -> None:
    source = rust_source.parse(
        "//! The file.\n\n/// Bytes of a [`Page`].\npub const A: usize = 4 * 1024;\n"
        "/// Outer.\npub mod inner {\n    /// First.\n    ///\n    /// Second\n    /// line.\n"
        "    pub const B: u32 = 7;\n}\npub const C: u64 =\n    A as u64 + KNOWN;\npub const D: u64 = f();\n",
        KNOWN=1,
    )

    assert source.doc == "The file."
    assert source.modules == {"inner": "Outer."}
    assert [(one.module, one.name, one.value, one.doc) for one in source.constants] == [
        ("", "A", 4096, "Bytes of a `Page`."),
        ("inner", "B", 7, "First.\n\nSecond line."),
        ("", "C", 4097, ""),
        ("", "D", None, ""),
    ]


def test_a_host_call_that_does_not_say_what_is_checked_is_refused() -> None:
    call = rust_source.Constant("nr", "NEW", "u64", 99, "`(fd)`: does something new.")

    with pytest.raises(ValueError, match=r"NEW: .* a paragraph that begins with \"Checked: \""):
        format_docs._call(call)
