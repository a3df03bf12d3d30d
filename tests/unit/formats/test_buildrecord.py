"""The build record: written one way, and read only if it is written so."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mystikos.formats import buildrecord
from mystikos.formats.buildrecord import BuildRecord, BuildRecordError

RECORD = BuildRecord(
    "0.1.0",
    {"rustc": "rustc 1.95.0 (59807616e 2026-04-14)", "cbor2": "6.3.0"},
    {"kernel": "ab" * 32, "config": "01" * 32},
    "2026-11-23",
    (b"12345678", b"\xff" * 8),
)


def test_a_record_is_read_back_and_its_bytes_do_not_depend_on_order() -> None:
    data = buildrecord.encode(RECORD)
    assert buildrecord.decode(data) == RECORD
    turned = replace(RECORD, tools=dict(reversed(RECORD.tools.items())))
    assert buildrecord.encode(turned) == data
    assert json.loads(data)["marks"] == "3132333435363738ffffffffffffffff"


def changed(**members: object) -> bytes:
    document = {**json.loads(buildrecord.encode(RECORD)), **members}
    kept = {key: value for key, value in document.items() if value is not None}
    return json.dumps(kept, indent=1, sort_keys=True).encode() + b"\n"


BAD = {
    "nothing": b"",
    "no JSON": b"{",
    "no object": b"[]\n",
    "not ASCII": '{"ü": 1}'.encode(),
    "deep": b"[" * 100_000,
    "large": b" " * (buildrecord.LARGEST + 1),
    "spaces": b" " + buildrecord.encode(RECORD),
    "other order": json.dumps(json.loads(buildrecord.encode(RECORD))).encode(),
    "a member twice": buildrecord.encode(RECORD).replace(b'"type"', b'"date": "2026-11-23",\n "type"'),
    "another type": changed(type="x"),
    "another version": changed(version=2),
    "a version that is no number": changed(version=True),
    "a member more": changed(more=1),
    "a member less": changed(tools=None),
    "a version of a list": changed(mystikos=["0.1.0"]),
    "an empty version": changed(mystikos=""),
    "a control character": changed(mystikos="0.1\x1b[31m"),
    "tools of a list": changed(tools=[]),
    "a tool of a number": changed(tools={"cbor2": 6}),
    "a short digest": changed(inputs={"kernel": "ab"}),
    "a digest in capitals": changed(inputs={"kernel": "AB" * 32}),
    "no date": changed(date="yesterday"),
    "half a mark": changed(marks="ab"),
    "marks of a list": changed(marks=[]),
}


@pytest.mark.parametrize("name", BAD)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(BuildRecordError):
        buildrecord.decode(BAD[name])


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_record(data: bytes) -> None:
    with pytest.raises(BuildRecordError):
        buildrecord.decode(data)


@given(at=st.integers(0, len(buildrecord.encode(RECORD)) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_another_record_or_none(at: int, bit: int) -> None:
    data = bytearray(buildrecord.encode(RECORD))
    data[at] ^= 1 << bit
    with contextlib.suppress(BuildRecordError):
        assert buildrecord.decode(bytes(data)) != RECORD
