"""Stage 5a: whether a key may sign this package at all, told before any work is done.

Two mistakes are refused here, because nobody notices them later: a key that everybody has, and a debug
enclave that carries the name of a release. What a release key is: docs/design/decisions/0013-release-keys.md.

    check_key(signer.public_modulus())
    check_debug(config, is_release_key(signer))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mystikos import signature
from mystikos.errors import KeyFileError
from mystikos.signers.base import MAKE_A_KEY
from mystikos.signers.published import PUBLISHED_KEYS

if TYPE_CHECKING:
    from mystikos.config import Config

__all__ = ["check_debug", "check_key"]


def check_key(modulus: int) -> None:
    """Raise ``KeyFileError`` for a key whose private half is published, ``SignatureError`` for one of a kind
    that SGX does not take."""
    signature.check_modulus(modulus)
    mrsigner = signature.mrsigner(modulus).hex()
    where = PUBLISHED_KEYS.get(mrsigner)
    if where is not None:
        raise KeyFileError(
            "signing key",
            f"everybody has it, its private half is published ({where}; MRSIGNER {mrsigner})",
            expected="a key of your own",
            hint=MAKE_A_KEY,
        )


def check_debug(config: Config, release_key: bool) -> None:
    """Raise ``KeyFileError`` when the config asks for a debug enclave and the key is one for releases.

    Whoever trusts that key, and forgets to ask whether the enclave is a debug one, would trust a program
    whose memory every host can read.
    """
    if config.debug and release_key:
        raise KeyFileError(
            "signing key",
            f'it is for releases, and {config.name} has "Debug": true: every host could read the enclave',
            expected="a release, or a development key (an unencrypted file)",
            hint='set "Debug": false, or sign with another key; --allow-debug signs it all the same',
        )
