"""Stage 5: sign a measurement with an identity, and check such a signature.

    sigstruct = sign(measurement.mrenclave, Identity(1, 1, layout.enclave), signer, date)
    check(sigstruct)                       # raises SignatureError
    mrsigner(sigstruct.modulus).hex()      # who signed

The structure is SDM 3D, 35.14; Q1 and Q2 spare the processor two divisions (EINIT).
"""

from __future__ import annotations

import datetime
import hashlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from mystikos import _abi
from mystikos.errors import SignatureError
from mystikos.formats.sigstruct import EXPONENT, KEY_SIZE, Sigstruct

if TYPE_CHECKING:
    from mystikos.formats.descriptor import Enclave
    from mystikos.signers import Signer

__all__ = ["DEFAULT_DATE", "check", "check_modulus", "complete", "mrsigner", "sign", "unsigned"]

_LOG = logging.getLogger(__name__)

DEFAULT_DATE = datetime.date(1980, 1, 1)
"""Date of a signature when nobody tells one."""

# DigestInfo of SHA-256 (RFC 8017, 9.2, note 1).
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def sign(
    mrenclave: bytes,
    enclave: Enclave,
    signer: Signer,
    *,
    product_id: int,
    security_version: int,
    date: datetime.date = DEFAULT_DATE,
) -> Sigstruct:
    """Sign an enclave's measurement and attributes; the result is checked before it is returned."""
    fields = unsigned(mrenclave, enclave, product_id=product_id, security_version=security_version, date=date)
    modulus = signer.public_modulus()
    signed = complete(fields, signer.sign(fields.signed_bytes()), modulus)
    _LOG.info("signed: MRSIGNER %s", mrsigner(modulus).hex())
    return signed


def unsigned(
    mrenclave: bytes,
    enclave: Enclave,
    *,
    product_id: int,
    security_version: int,
    date: datetime.date = DEFAULT_DATE,
) -> Sigstruct:
    """What is to be signed; key, signature, Q1 and Q2 are zero."""
    return Sigstruct(
        date=_bcd(date),
        modulus=0,
        signature=0,
        miscselect=enclave.miscselect,
        miscmask=_abi.MISCMASK,
        attributes=enclave.attributes,
        xfrm=enclave.xfrm,
        attributes_mask=_abi.ATTRIBUTES_MASK,
        xfrm_mask=_abi.XFRM_MASK,
        enclave_hash=mrenclave,
        product_id=product_id,
        security_version=security_version,
        q1=0,
        q2=0,
    )


def complete(fields: Sigstruct, signed: bytes, modulus: int) -> Sigstruct:
    """``fields`` with a signature (384 bytes, big-endian) by the key of ``modulus``, and Q1 and Q2.

    Raises SignatureError unless it is a signature over these fields by this key.
    """
    check_modulus(modulus)
    if len(signed) != KEY_SIZE:
        raise _refused(f"{len(signed)} bytes", f"{KEY_SIZE}")
    signature = int.from_bytes(signed, "big")
    if signature >= modulus or pow(signature, EXPONENT, modulus) != _encoded(fields.signed_bytes()):
        raise _refused("not over these fields, or not by this key", "PKCS#1 v1.5 with SHA-256 by this key")
    q1, q2 = _quotients(signature, modulus)
    sigstruct = replace(fields, modulus=modulus, signature=signature, q1=q1, q2=q2)
    check(sigstruct)
    return sigstruct


def check_modulus(modulus: int) -> None:
    """Raise ``SignatureError`` unless this can be the modulus of a key that SGX takes."""
    if modulus.bit_length() != KEY_SIZE * 8 or modulus % 2 == 0:
        raise SignatureError(
            "public key",
            f"a modulus of {modulus.bit_length()} bits" if modulus % 2 else "an even modulus",
            expected=f"an odd one of {KEY_SIZE * 8}",
            hint="sign with an RSA key of 3072 bits with exponent 3",
        )


def _refused(found: str, expected: str) -> SignatureError:
    return SignatureError(
        "signature", found, expected=expected, hint="is it the right key, and the right request?"
    )


def check(sigstruct: Sigstruct) -> None:
    """Raise ``SignatureError`` unless the signature is its modulus' own over its fields, Q1 and Q2 right."""
    if sigstruct.exponent != EXPONENT:
        raise _wrong(f"exponent {sigstruct.exponent}", str(EXPONENT))
    if sigstruct.modulus.bit_length() != KEY_SIZE * 8:
        raise _wrong(f"a modulus of {sigstruct.modulus.bit_length()} bits", f"{KEY_SIZE * 8}")
    if sigstruct.signature >= sigstruct.modulus:
        raise _wrong("the signature is not below the modulus", "a signature by this key")
    if pow(sigstruct.signature, EXPONENT, sigstruct.modulus) != _encoded(sigstruct.signed_bytes()):
        raise _wrong("the signature is not over these fields, or by another key", "a signature by this key")
    if (sigstruct.q1, sigstruct.q2) != _quotients(sigstruct.signature, sigstruct.modulus):
        raise _wrong("Q1 or Q2 do not belong to the signature", "⌊S²/M⌋ and ⌊S·(S² mod M)/M⌋")


def _wrong(found: str, expected: str) -> SignatureError:
    return SignatureError(
        "SIGSTRUCT",
        found,
        expected=expected,
        hint="the package was changed after it was signed",
    )


def _quotients(signature: int, modulus: int) -> tuple[int, int]:
    square, remainder = divmod(signature * signature, modulus)
    return square, signature * remainder // modulus


def _encoded(message: bytes) -> int:
    """EMSA-PKCS1-v1_5 of the SHA-256 of a message (RFC 8017, 9.2)."""
    tail = b"\0" + _DIGEST_INFO + hashlib.sha256(message).digest()
    return int.from_bytes(b"\0\1" + tail.rjust(KEY_SIZE - 2, b"\xff"), "big")


def mrsigner(modulus: int) -> bytes:
    """The signer's identity: SHA-256 of the modulus as SIGSTRUCT holds it."""
    return hashlib.sha256(modulus.to_bytes(KEY_SIZE, "little")).digest()


def _bcd(date: datetime.date) -> int:
    return int(f"{date.year:04}{date.month:02}{date.day:02}", 16)
