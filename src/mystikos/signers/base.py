"""Stage 5a: what every signer is, and the only kind of key that SGX takes.

>>> decode_signature(b"00" * 384) == decode_signature(bytes(384))
True
"""

from __future__ import annotations

import base64
import binascii
import string
from typing import Protocol

KEY_BITS = 3072
"""Bits of the modulus."""
KEY_BYTES = KEY_BITS // 8
"""Bytes of the modulus and of a signature."""
EXPONENT = 3
"""The public exponent."""
A_KEY = "an RSA key of 3072 bits with exponent 3"
MAKE_A_KEY = "make a right one with `myst keygen private.pem` or `openssl genrsa -out private.pem -3 3072`"
"""A hint for people whose key will not do."""
FORMS = (
    f"{KEY_BYTES} bytes, big-endian, as `openssl dgst -sha256 -sign` writes them, or these in base64 or hex"
)

_HEX = frozenset(string.hexdigits.encode())
_SPACE = string.whitespace.encode()
_ID_RSASSA_PSS = bytes.fromhex("06092a864886f70d01010a")  # 1.2.840.113549.1.1.10 in DER
PSS_KEY = "is a key for RSASSA-PSS only"


class Signer(Protocol):
    """What signs a SIGSTRUCT: a key file, or something else that keeps the key away from this machine."""

    def public_modulus(self) -> int:
        """The modulus of the RSA-3072 key; its exponent is 3."""

    def sign(self, message: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2) over ``message``: 384 bytes, big-endian."""


def is_release_key(signer: Signer) -> bool:
    """Whether a signer's key is one for releases, which signs no debug enclave unless told so.

    A key that is kept away from this machine's files is one. A signer that knows better tells it by an
    attribute ``release_key``.
    """
    return bool(getattr(signer, "release_key", True))


def decode_signature(data: bytes) -> bytes | None:
    """The 384 bytes of a signature in any of its FORMS, which differ in length; None for anything else."""
    if len(data) == KEY_BYTES:
        return data
    text = data.translate(None, _SPACE)
    if len(text) == 2 * KEY_BYTES and _HEX.issuperset(text):
        return bytes.fromhex(text.decode())
    try:
        decoded = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return decoded if len(decoded) == KEY_BYTES else None


def is_encrypted(pem: bytes) -> bool:
    """A private key that is encrypted: PKCS#8 says it in its label, PKCS#1 in a header (RFC 1421)."""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem or b"Proc-Type: 4,ENCRYPTED" in pem


def is_pss(pem: bytes) -> bool:
    """The PEM text holds a key that is declared for RSASSA-PSS only (RFC 4055), unencrypted.

    Libraries load such a key as any RSA key, but SIGSTRUCT is signed with PKCS#1 v1.5, which it is not for.
    """
    begin = pem.find(b"-----BEGIN ")  # other text may stand before (RFC 7468 §2)
    lines = pem[max(begin, 0) :].splitlines()
    body = b"".join(line for line in lines if not line.startswith(b"-----"))
    try:
        head = base64.b64decode(body[:128])
    except binascii.Error:
        return False
    return _ID_RSASSA_PSS in head


def describe_key(bits: int, exponent: int) -> str | None:
    """What is wrong with an RSA key of this kind; None if SGX takes it (SDM 3D, "SIGSTRUCT")."""
    if (bits, exponent) == (KEY_BITS, EXPONENT):
        return None
    return f"is an RSA key of {bits} bits with exponent {exponent}"
