"""Stage 5a: the public half of a signing key, for signers that keep the private one elsewhere.

>>> modulus = load_public_modulus("public.pem")  # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mystikos.errors import KeyFileError
from mystikos.signers.base import A_KEY, PSS_KEY, describe_key, is_pss

_LARGEST_FILE = 64 * 1024
_MAKE_IT = "`openssl rsa -in private.pem -pubout -out public.pem` writes it"


def load_public_modulus(path: str | Path) -> int:
    """The modulus of a public key in PEM form (SubjectPublicKeyInfo or PKCS#1).

    Raises KeyFileError when the file holds none, or one of another kind than SGX takes.
    """
    where = str(path)
    pem = _read(where)
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        private = b"PRIVATE KEY-----" in pem
        found = "holds a private key" if private else "holds no public key in PEM form"
        raise KeyFileError(where, found, expected="a public key in PEM form", hint=_MAKE_IT) from error
    if not isinstance(key, rsa.RSAPublicKey):
        kind = type(key).__name__.removesuffix("PublicKey")
        raise KeyFileError(where, f"is a key of type {kind}", expected=A_KEY)
    wrong = describe_key(key.key_size, key.public_numbers().e)
    if not wrong and is_pss(pem):
        wrong = PSS_KEY
    if wrong:
        raise KeyFileError(where, wrong, expected=A_KEY)
    return key.public_numbers().n


def _read(where: str) -> bytes:
    try:
        with Path(where).open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError as error:
        raise KeyFileError(where, "no such file", expected="a public key", hint=_MAKE_IT) from error
    if len(content) > _LARGEST_FILE:
        raise KeyFileError(where, "is larger than 64 KiB", expected="a public key in PEM form")
    return content
