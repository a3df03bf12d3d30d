"""Stage 5a: who signs. A ``Signer`` speaks for an RSA-3072 key with exponent 3, the only kind SGX takes.

=================  ==========================================================================
``pem``            a private key in a file
``pkcs11``         a key in a token (HSM, smart card), through its PKCS#11 module
``command``        a program that is given the message and writes the signature
``plugins``        whatever an installed package offers as entry point ``mystikos.signers``
=================  ==========================================================================

None of them is trusted: ``signature.sign`` checks what they return with their public key.

>>> signer = PemSigner.load("private.pem", None)  # doctest: +SKIP
>>> len(signer.sign(b"message"))  # doctest: +SKIP
384
"""

from mystikos.signers.base import EXPONENT, KEY_BITS, KEY_BYTES, MAKE_A_KEY, Signer, is_release_key
from mystikos.signers.pem import Passphrase, PemSigner, keygen
from mystikos.signers.public import load_modulus, load_public_modulus
from mystikos.signers.published import PUBLISHED_KEYS

__all__ = [
    "EXPONENT",
    "KEY_BITS",
    "KEY_BYTES",
    "MAKE_A_KEY",
    "PUBLISHED_KEYS",
    "Passphrase",
    "PemSigner",
    "Signer",
    "is_release_key",
    "keygen",
    "load_modulus",
    "load_public_modulus",
]
