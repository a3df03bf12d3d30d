"""The `.mystbind` codec, against bytes written out from docs/reference/package-format.md."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mystikos.binding.table import FileRecord, Site, decode, encode
from mystikos.errors import BindingError

MOV_EAX = b"\xb8\x01\0\0\0"

TABLE = (
    b"MYSTBIND" + struct.pack("<IIQQQ", 1, 1, 2, 64, 96) + bytes(24)
    + struct.pack("<QQQQ", 0x2000, 4096, 0, 2)
    + struct.pack("<IBBBB", 0x100, 7, 5, 0, 0) + MOV_EAX + bytes(19)
    + struct.pack("<IBBBB", 0x200, 6, 1, 3, 0) + b"\x90\x48\x89\xc3" + bytes(20)
)  # fmt: skip
FILES = (FileRecord(0x2000, 4096, (Site(0x100, MOV_EAX, b""), Site(0x200, b"\x90", b"\x48\x89\xc3"))),)


def test_a_table_is_written_as_documented() -> None:
    assert encode(FILES) == TABLE


def test_a_table_is_read_back() -> None:
    assert decode(TABLE) == FILES


def test_files_and_sites_are_written_in_order() -> None:
    first = FileRecord(0x1000, 4096, (Site(9, MOV_EAX, b""),))
    unordered = FileRecord(0x2000, 4096, FILES[0].sites[::-1])
    assert encode([unordered, first]) == encode([first, FILES[0]])


def test_no_files_make_a_header_alone() -> None:
    assert encode([]) == b"MYSTBIND" + struct.pack("<IIQQQ", 1, 0, 0, 64, 64) + bytes(24)
    assert decode(encode([])) == ()


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        pytest.param(0, b"X", id="magic"),
        pytest.param(8, b"\x02", id="version"),
        pytest.param(12, b"\x02", id="file count"),
        pytest.param(16, b"\x03", id="site count"),
        pytest.param(24, b"\x41", id="offset of the file records"),
        pytest.param(32, b"\x61", id="offset of the site records"),
        pytest.param(40, b"\x01", id="header padding"),
        pytest.param(64 + 16, b"\x01", id="first site"),
        pytest.param(64 + 24, b"\xff", id="number of sites"),
        pytest.param(96 + 4, b"\x08", id="delta"),
        pytest.param(96 + 5, b"\x19", id="displaced bytes before"),
        pytest.param(96 + 7, b"\x01", id="reserved byte"),
        pytest.param(96 + 31, b"\x01", id="padding of the displaced bytes"),
        pytest.param(96, b"\xff\xff", id="order of sites"),
    ],
)
def test_a_damaged_table_is_refused(offset: int, value: bytes) -> None:
    damaged = TABLE[:offset] + value + TABLE[offset + len(value) :]
    with pytest.raises(BindingError):
        decode(damaged)


@pytest.mark.parametrize("size", range(0, len(TABLE), 7))
def test_a_truncated_table_is_refused(size: int) -> None:
    with pytest.raises(BindingError):
        decode(TABLE[:size])


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read_back_the_same(junk: bytes) -> None:
    for table in (junk, TABLE[:64] + junk, TABLE[: 64 + 32] + junk):
        try:
            files = decode(table)
        except BindingError:
            continue
        assert encode(files) == table


@pytest.mark.parametrize(("before", "after"), [(b"", b"\x90"), (bytes(20), bytes(5))])
def test_a_site_needs_room_for_the_jump_and_in_the_record(before: bytes, after: bytes) -> None:
    with pytest.raises(BindingError, match="displaced bytes"):
        Site(0, before, after)
