"""Stage 5a: the public half of a signing key, for signers that keep the private one elsewhere, and for those
who tell signers apart.

>>> modulus = load_public_modulus("public.pem")  # doctest: +SKIP
>>> modulus == load_modulus("certificate.pem")  # doctest: +SKIP
True
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mystikos.errors import KeyFileError
from mystikos.signers.base import A_KEY, PSS_KEY, describe_key, is_encrypted, is_pss

_LARGEST_FILE = 64 * 1024
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_MAKE_IT = "`openssl rsa -in private.pem -pubout -out public.pem` writes it"
_ANY_KEY = "a public key, a certificate or an unencrypted private key, in PEM form"


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
    return _modulus(key, pem, where)


def load_modulus(path: str | Path) -> int:
    """The modulus of the key in a PEM file of any kind: public key, X.509 certificate, private key.

    Nothing is signed with a private key here, and nothing is asked of how it is kept. Raises KeyFileError as
    :func:`load_public_modulus` does.
    """
    where = str(path)
    pem = _read(where)
    if is_encrypted(pem):
        raise KeyFileError(where, "is an encrypted private key", expected=_ANY_KEY, hint=_MAKE_IT)
    try:
        key = _public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(where, "holds no key in PEM form", expected=_ANY_KEY, hint=_MAKE_IT) from error
    return _modulus(key, pem, where)


def _public_key(pem: bytes) -> object:
    if _CERTIFICATE in pem:
        from cryptography import x509

        return x509.load_pem_x509_certificate(pem).public_key()
    if b"PRIVATE KEY-----" in pem:
        return serialization.load_pem_private_key(pem, None).public_key()
    return serialization.load_pem_public_key(pem)


def _modulus(key: object, pem: bytes, where: str) -> int:
    if not isinstance(key, rsa.RSAPublicKey):
        kind = type(key).__name__.removesuffix("PublicKey")
        raise KeyFileError(where, f"is a key of type {kind}", expected=A_KEY)
    wrong = describe_key(key.key_size, key.public_numbers().e)
    if not wrong and _CERTIFICATE not in pem and is_pss(pem):  # a certificate may be signed with PSS
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
    except OSError as error:
        raise KeyFileError(where, f"cannot be read ({error.strerror or error})", expected=_ANY_KEY) from error
    if len(content) > _LARGEST_FILE:
        raise KeyFileError(where, "is larger than 64 KiB", expected="a public key in PEM form")
    return content
