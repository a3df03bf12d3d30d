"""Stage 5a: signing with a private key in a PEM file; and making such a file.

>>> signer = PemSigner.load("private.pem", None)  # doctest: +SKIP
>>> len(signer.sign(b"message"))  # doctest: +SKIP
384
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from mystikos.errors import KeyFileError
from mystikos.formats.atomic import atomic_output, write_new
from mystikos.signers.base import (
    A_KEY,
    EXPONENT,
    KEY_BITS,
    MAKE_A_KEY,
    PSS_KEY,
    describe_key,
    is_encrypted,
    is_pss,
)

_LARGEST_FILE = 64 * 1024  # bytes; a PEM file of this kind of key has about 2.5 KB

# A line of text before the key, which readers of PEM skip (RFC 7468 §2).
_RELEASE_MARK = b"# mystikos: release key\n"
_RELEASE_LINE = re.compile(rb"^[ \t]*#[ \t]*mystikos:[ \t]*release key\s*$", re.MULTILINE | re.IGNORECASE)

Passphrase = bytes | Callable[[], bytes] | None
"""A passphrase, or who to ask for it when the key turns out to be encrypted."""


class PemSigner:
    """A private key from a PEM file; ``release_key`` tells whether it is one for releases."""

    def __init__(self, key: rsa.RSAPrivateKey, *, release_key: bool = False) -> None:
        self._key = key
        self.release_key = release_key

    @classmethod
    def load(cls, path: str | Path, passphrase: Passphrase) -> PemSigner:
        """Read a PKCS#1 or PKCS#8 file; ``passphrase`` (or what it returns) decrypts it if need be.

        Raises KeyFileError when the file is readable by others, is no key, is another kind of key than
        SGX takes, or the passphrase is missing or wrong; OSError when it cannot be read.
        """
        where = str(path)
        pem = _read_private_file(where)
        if callable(passphrase):
            passphrase = passphrase() if is_encrypted(pem) else None
        key = _checked(_decode(pem, passphrase, where), where)
        if is_pss(pem):
            raise KeyFileError(where, PSS_KEY, expected=A_KEY, hint=MAKE_A_KEY)
        return cls(key, release_key=is_encrypted(pem) or _is_marked(pem))

    def public_modulus(self) -> int:
        return self._key.public_key().public_numbers().n

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())


def keygen(
    path: str | Path, passphrase: bytes | None = None, *, force: bool = False, release: bool = False
) -> PemSigner:
    """Make a key and write it as PKCS#8 PEM with mode 0600; an existing file is kept unless ``force``.

    ``release`` marks it as one for releases, which an encrypted key is in any case.
    """
    if not force and os.path.lexists(path):
        raise KeyFileError(
            str(path),
            "exists already",
            expected="a new file",
            hint="--force replaces it; the old key is lost",
        )
    key = rsa.generate_private_key(EXPONENT, KEY_BITS)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    if release:
        pem = _RELEASE_MARK + pem
    if force:
        with atomic_output(Path(path), 0o600) as file:
            file.write(pem)
    else:
        write_new(Path(path), pem, 0o600)
    return PemSigner(key, release_key=release or passphrase is not None)


def _read_private_file(where: str) -> bytes:
    """The content of a key file that nobody but its owner can read."""
    try:
        descriptor = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise KeyFileError(where, "no such file", expected="a private key", hint=MAKE_A_KEY) from error
    try:
        _check_mode(os.fstat(descriptor).st_mode, where)
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(_LARGEST_FILE + 1)
    finally:
        os.close(descriptor)
    if len(content) > _LARGEST_FILE:
        raise KeyFileError(
            where, "is larger than 64 KiB", expected="a private key in PEM form", hint=MAKE_A_KEY
        )
    return content


def _check_mode(mode: int, where: str) -> None:
    if not stat.S_ISREG(mode):
        raise KeyFileError(where, "is not a regular file", expected="a private key file")
    if mode & 0o077:
        raise KeyFileError(
            where,
            f"mode {stat.S_IMODE(mode):04o} lets others than its owner use the key",
            expected="mode 0600 or 0400",
            hint=f"chmod 600 {where}",
        )


def _is_marked(pem: bytes) -> bool:
    return _RELEASE_LINE.search(pem, 0, max(pem.find(b"-----BEGIN "), 0)) is not None


def _decode(pem: bytes, passphrase: bytes | None, where: str) -> PrivateKeyTypes:
    encrypted = is_encrypted(pem)
    if encrypted and not passphrase:
        raise KeyFileError(
            where,
            "is encrypted and no passphrase was given",
            expected="a passphrase",
            hint="give it at the prompt, with --passphrase-env NAME or with --passphrase-fd N",
        )
    try:
        return serialization.load_pem_private_key(pem, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if encrypted:
            raise KeyFileError(
                where, "cannot be decrypted: the passphrase is wrong or the file is damaged"
            ) from error
        found = "is a public key" if b"PUBLIC KEY-----" in pem else "holds no private key in PEM form"
        raise KeyFileError(where, found, expected=A_KEY, hint=MAKE_A_KEY) from error


def _checked(key: PrivateKeyTypes, where: str) -> rsa.RSAPrivateKey:
    """SGX takes RSA-3072 with exponent 3 only (SDM 3D, "SIGSTRUCT")."""
    if not isinstance(key, rsa.RSAPrivateKey):
        kind = type(key).__name__.lstrip("_").removesuffix("PrivateKey")
        raise KeyFileError(where, f"is a key of type {kind}", expected=A_KEY, hint=MAKE_A_KEY)
    wrong = describe_key(key.key_size, key.public_key().public_numbers().e)
    if wrong:
        raise KeyFileError(where, wrong, expected=A_KEY, hint=MAKE_A_KEY)
    return key
