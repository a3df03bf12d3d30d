from __future__ import annotations

import pytest

from mystikos.formats import sigstruct
from mystikos.formats.sigstruct import Sigstruct, SigstructError

EXAMPLE = Sigstruct(
    date=0x20260102,
    modulus=(1 << 3071) + 12345,
    signature=7,
    miscselect=1,
    miscmask=0xFFFFFFFF,
    attributes=6,
    xfrm=3,
    attributes_mask=(1 << 64) - 1,
    xfrm_mask=0xFFFFFFFFFFFFFF1B,
    enclave_hash=bytes(range(32)),
    product_id=0x1234,
    security_version=0x5678,
    q1=99,
    q2=100,
)


def test_fields_stand_where_the_sdm_says() -> None:
    packed = EXAMPLE.pack()
    assert len(packed) == 1808
    assert packed[0:16].hex() == "06000000e10000000000010000000000"
    assert packed[20:24].hex() == "02012620"
    assert packed[24:40].hex() == "01010000600000006000000001000000"
    assert int.from_bytes(packed[128:512], "little") == EXAMPLE.modulus
    assert packed[512:516] == b"\3\0\0\0"
    assert int.from_bytes(packed[516:900], "little") == 7
    assert packed[900:908].hex() == "01000000ffffffff"
    assert packed[928:960].hex() == "06000000000000000300000000000000ffffffffffffffff1bffffffffffffff"
    assert packed[960:992] == bytes(range(32))
    assert packed[1024:1028].hex() == "34127856"
    assert int.from_bytes(packed[1040:1424], "little") == 99
    assert int.from_bytes(packed[1424:1808], "little") == 100


def test_signed_bytes_leave_out_key_signature_and_quotients() -> None:
    packed = EXAMPLE.pack()
    assert EXAMPLE.signed_bytes() == packed[:128] + packed[900:1028]


def test_unpacking_gives_back_what_was_packed() -> None:
    assert sigstruct.unpack(EXAMPLE.pack()) == EXAMPLE


@pytest.mark.parametrize("offset", [0, 11, 12, 24, 40, 44, 127, 908, 909, 912, 992, 1008, 1028, 1039])
def test_a_changed_constant_or_reserved_byte_is_refused(offset: int) -> None:
    packed = bytearray(EXAMPLE.pack())
    packed[offset] ^= 0x10
    with pytest.raises(SigstructError):
        sigstruct.unpack(bytes(packed))


@pytest.mark.parametrize("size", [0, 1807, 1809])
def test_another_size_is_refused(size: int) -> None:
    with pytest.raises(SigstructError, match=f"{size} bytes"):
        sigstruct.unpack(bytes(size))
