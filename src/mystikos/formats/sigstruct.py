"""The enclave signature structure, SIGSTRUCT (SDM 3D, 35.14): 1808 bytes, little-endian integers.

>>> len(SIGNED_RANGES), SIZE
(2, 1808)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mystikos import _abi

__all__ = [
    "EXPONENT",
    "KEY_SIZE",
    "SIGNED_RANGES",
    "SIZE",
    "Sigstruct",
    "SigstructError",
    "unpack",
    "unpack_signed",
]

SIZE = _abi.SIGSTRUCT_SIZE
"""Bytes of the structure."""
KEY_SIZE = 384
"""Bytes of the modulus and of the signature."""
EXPONENT = 3
"""The public exponent, the only one that SGX takes."""
SIGNED_RANGES = (slice(0, 128), slice(900, 1028))
"""The bytes that the signature covers."""

_HEADER = bytes.fromhex("06000000e100000000000100")
_HEADER2 = bytes.fromhex("01010000600000006000000001000000")
_STRUCT = struct.Struct("<12sIII16sI84s384sI384sIIBB2s16sQQQQ32s16s16sHH12s384s384s")

_EXPONENT_AT = 512
_VENDORS = (0, 0x8086)

assert _STRUCT.size == SIZE


class SigstructError(ValueError):
    """The bytes are not a SIGSTRUCT as this version writes it."""


@dataclass(frozen=True)
class Sigstruct:
    """The structure's fields; key material as integers, DATE as the BCD number 0xYYYYMMDD."""

    date: int
    modulus: int
    signature: int
    miscselect: int
    miscmask: int
    attributes: int
    xfrm: int
    attributes_mask: int
    xfrm_mask: int
    enclave_hash: bytes
    product_id: int
    security_version: int
    q1: int
    q2: int
    exponent: int = EXPONENT
    vendor: int = 0

    @property
    def day(self) -> str:
        """DATE as YYYY-MM-DD; of another signer's making it need not be a date."""
        digits = f"{self.date:08x}"
        return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"

    def pack(self) -> bytes:
        """The 1808 bytes; fields this version does not use (CET, KSS, family) are zero."""
        return _STRUCT.pack(
            _HEADER, 0, self.vendor, self.date, _HEADER2, 0, b"",
            _wide(self.modulus), self.exponent, _wide(self.signature),
            self.miscselect, self.miscmask, 0, 0, b"", b"",
            self.attributes, self.xfrm, self.attributes_mask, self.xfrm_mask,
            self.enclave_hash, b"", b"", self.product_id, self.security_version, b"",
            _wide(self.q1), _wide(self.q2),
        )  # fmt: skip

    def signed_bytes(self) -> bytes:
        """What the signature is over (256 bytes)."""
        packed = self.pack()
        return b"".join(packed[part] for part in SIGNED_RANGES)


def _wide(number: int) -> bytes:
    return number.to_bytes(KEY_SIZE, "little")


def unpack_signed(data: bytes) -> Sigstruct:
    """Decode the 256 signed bytes; what is not among them (key, signature, Q1, Q2) is zero."""
    first, second = SIGNED_RANGES
    size = first.stop + second.stop - second.start
    if len(data) != size:
        raise SigstructError(f"{len(data)} bytes, not {size}")
    whole = bytearray(SIZE)
    whole[first], whole[second] = data[: first.stop], data[first.stop :]
    whole[_EXPONENT_AT : _EXPONENT_AT + 4] = EXPONENT.to_bytes(4, "little")
    return unpack(bytes(whole))


def unpack(data: bytes) -> Sigstruct:
    """Decode 1808 bytes of whatever origin; bytes that must be constant or zero are checked."""
    if len(data) != SIZE:
        raise SigstructError(f"{len(data)} bytes, not {SIZE}")
    (header, _, vendor, date, header2, _, _, modulus, exponent, signature, miscselect, miscmask, _, _, _, _,
     attributes, xfrm, attributes_mask, xfrm_mask, enclave_hash, _, _, product_id, security_version, _,
     q1, q2) = _STRUCT.unpack(data)  # fmt: skip
    if (header, header2) != (_HEADER, _HEADER2):
        raise SigstructError("its two constant headers are not as the SDM says")
    if vendor not in _VENDORS:
        raise SigstructError(f"VENDOR is {vendor:#x}, and a processor takes 0 or 0x8086 only")

    found = Sigstruct(
        date=date,
        modulus=int.from_bytes(modulus, "little"),
        signature=int.from_bytes(signature, "little"),
        miscselect=miscselect,
        miscmask=miscmask,
        attributes=attributes,
        xfrm=xfrm,
        attributes_mask=attributes_mask,
        xfrm_mask=xfrm_mask,
        enclave_hash=enclave_hash,
        product_id=product_id,
        security_version=security_version,
        q1=int.from_bytes(q1, "little"),
        q2=int.from_bytes(q2, "little"),
        exponent=exponent,
        vendor=vendor,
    )
    if found.pack() != data:
        raise SigstructError("fields that must be zero are not")
    return found
