from __future__ import annotations

import datetime
import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import packages

from mystikos import signature
from mystikos.errors import SignatureError
from mystikos.formats.descriptor import REG_RW, Enclave, Kind, Region
from mystikos.formats.sigstruct import Sigstruct

ENCLAVE = Enclave(2 << 20, False, (Region(Kind.HEAP, 0, 1, REG_RW),))
HASH = hashlib.sha256(b"an enclave").digest()


def signed(**changes: object) -> Sigstruct:
    arguments: dict[str, object] = {"product_id": 1, "security_version": 2, **changes}
    return signature.sign(HASH, ENCLAVE, packages.signer(), **arguments)  # type: ignore[arg-type]


def test_a_signature_checks() -> None:
    signature.check(signed())


def test_openssl_verifies_the_signature(tmp_path: Path) -> None:
    sigstruct = signed()
    (tmp_path / "message").write_bytes(sigstruct.signed_bytes())
    (tmp_path / "signature").write_bytes(sigstruct.signature.to_bytes(384, "big"))
    asn1 = f"asn1=SEQUENCE:key\n[key]\nn=INTEGER:{sigstruct.modulus:#x}\ne=INTEGER:3\n"
    (tmp_path / "key.asn1").write_text(asn1)
    commands = (
        "openssl asn1parse -genconf key.asn1 -noout -out key.der",
        "openssl rsa -RSAPublicKey_in -inform DER -in key.der -pubout -out key.pem",
        "openssl dgst -sha256 -verify key.pem -signature signature message",
    )
    for command in commands:
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)


def test_quotients_let_the_processor_exponentiate_without_dividing() -> None:
    sigstruct = signed()
    s, m = sigstruct.signature, sigstruct.modulus
    assert s * s - sigstruct.q1 * m == s * s % m
    assert s * (s * s - sigstruct.q1 * m) - sigstruct.q2 * m == pow(s, 3, m)


def test_date_is_binary_coded_decimal() -> None:
    assert signed(date=datetime.date(2026, 11, 23)).date == 0x20261123
    assert signed().date == 0x19800101


def test_the_same_inputs_give_the_same_bytes() -> None:
    assert signed().pack() == signed().pack()


def test_mrsigner_is_the_hash_of_the_little_endian_modulus() -> None:
    packed = signed().pack()
    assert signature.mrsigner(signed().modulus) == hashlib.sha256(packed[128:512]).digest()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"product_id": 3}, "not over these fields"),
        ({"enclave_hash": bytes(32)}, "not over these fields"),
        ({"modulus": packages.signer("other").public_modulus()}, "not over these fields|not below"),
        ({"modulus": 3 << 3000}, "bits"),
        ({"signature": 0}, "not over these fields"),
        ({"signature": (1 << 3072) - 1}, "not below the modulus"),
        ({"q1": 1}, "Q1 or Q2"),
        ({"q2": 1}, "Q1 or Q2"),
        ({"exponent": 65537}, "exponent"),
    ],
)
def test_a_changed_field_fails_the_check(changes: dict[str, int], told: str) -> None:
    with pytest.raises(SignatureError, match=told):
        signature.check(replace(signed(), **changes))  # type: ignore[arg-type]


def test_a_signer_that_signs_something_else_is_found_out() -> None:
    class Liar:
        def public_modulus(self) -> int:
            return packages.signer().public_modulus()

        def sign(self, message: bytes) -> bytes:
            return packages.signer().sign(message + b"!")

    with pytest.raises(SignatureError):
        signature.sign(HASH, ENCLAVE, Liar(), product_id=1, security_version=1)
