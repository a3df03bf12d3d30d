"""The newc codec: what it writes, and what it refuses to read."""

from __future__ import annotations

import pytest

from mystikos.errors import RootFsError
from mystikos.formats.cpio import (
    BytesReader,
    Header,
    Member,
    decode,
    end_padding,
    header_size,
    padding,
    trailer,
)


def _entry(path: bytes, data: bytes = b"", **fields: int) -> bytes:
    header = Header(path, **{"mode": 0o100644, "size": len(data), "ino": 1, **fields})  # type: ignore[arg-type]
    return header.encode() + data + padding(len(data))


def _members(archive: bytes) -> list[Member]:
    return list(decode(BytesReader(archive), "a.cpio"))


def _field(header: bytes, index: int, value: bytes) -> bytes:
    """*header* with its field *index* (0 is ino, 6 filesize, 11 namesize) overwritten."""
    start = 6 + 8 * index
    return header[:start] + value + header[start + 8 :]


def test_a_header_is_as_gnu_cpio_writes_it() -> None:
    header = Header(b"bin/hello", mode=0o100755, size=0xABC, ino=7, nlink=2).encode()

    assert header == (
        b"070701" b"00000007" b"000081ED" b"00000000" b"00000000" b"00000002" b"00000000" b"00000ABC"
        b"00000000" b"00000000" b"00000000" b"00000000" b"0000000A" b"00000000" b"bin/hello\0"
    )  # fmt: skip
    assert len(header) == header_size(b"bin/hello") == 120


@pytest.mark.parametrize("length", range(1, 9))
def test_names_and_data_of_every_alignment_come_back(length: int) -> None:
    path, data = b"n" * length, b"d" * length
    archive = _entry(path, data) + _entry(b"last", b"x") + trailer()

    first, second = _members(archive)

    assert first.header.path == path
    assert archive[first.data_offset : first.data_offset + first.header.size] == data
    assert second.header.path == b"last"


def test_a_name_longer_than_one_read_comes_back() -> None:
    assert _members(_entry(b"n" * 4095) + trailer())[0].header.path == b"n" * 4095


def test_numbers_in_small_letters_are_read() -> None:
    archive = _field(_entry(b"a"), 0, b"0000abcd") + trailer()
    assert _members(archive)[0].header.ino == 0xABCD


def test_an_archive_is_padded_to_blocks() -> None:
    assert len(end_padding(1)) == 511
    assert end_padding(1024) == b""


_GOOD = _entry(b"a", b"data")


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(_GOOD, "ends without a trailer", id="no trailer"),
        pytest.param(_GOOD + trailer()[:50], "cut off in the header", id="cut in a header"),
        pytest.param(_GOOD[:-2], "a: the archive ends at 114 in data of 4 bytes", id="cut in the data"),
        pytest.param(_GOOD[:111], "ends at 111", id="cut in the name"),
        pytest.param(
            _field(_GOOD, 6, b"FFFFFFFF") + trailer(), "data of 4294967295 bytes", id="absurd file size"
        ),
        pytest.param(
            _field(_GOOD, 11, b"FFFFFFFF") + trailer(),
            "name of 4294967295 bytes, expected 2 to",
            id="absurd name size",
        ),
        pytest.param(_field(_GOOD, 11, b"00000000") + trailer(), "name of 0 bytes", id="name size 0"),
        pytest.param(_field(_GOOD, 11, b"00000001") + trailer(), "name of 1 bytes", id="empty name"),
        pytest.param(_field(_GOOD, 11, b"00000004") + trailer(), "one NUL, at its end", id="NUL in the name"),
        pytest.param(_GOOD.replace(b"a\0", b"ab") + trailer(), "one NUL, at its end", id="no NUL"),
        pytest.param(
            _field(_GOOD, 0, b"0000 001") + trailer(), "104 hexadecimal digits", id="blank in digits"
        ),
        pytest.param(
            _field(_GOOD, 0, b"+0000001") + trailer(), "104 hexadecimal digits", id="sign in digits"
        ),
        pytest.param(_GOOD + b"garbage" * 30, "offset 116: found", id="garbage between entries"),
        pytest.param(
            _GOOD + trailer() + bytes(20) + b"x", "data after the trailer", id="data after the trailer"
        ),
        pytest.param(b"070702" + bytes(200), "of the crc format", id="crc format"),
        pytest.param(b"070707" + bytes(200), "old portable format", id="odc format"),
        pytest.param(b"\xc7\x71" + bytes(200), "old binary format", id="binary format"),
        pytest.param(b"\x1f\x8b" + bytes(200), "compressed with gzip", id="gzip"),
        pytest.param(b"\x7fELF" + bytes(200), "is an ELF file", id="ELF"),
        pytest.param(bytes(4096), "offset 0: found", id="zeros"),
    ],
)
def test_a_damaged_archive_is_refused(archive: bytes, message: str) -> None:
    with pytest.raises(RootFsError) as caught:
        _members(archive)

    assert message in str(caught.value)
    assert str(caught.value).startswith("a.cpio")
