"""The development signer. Its private key stands below for everybody to read, so what it signs has no signer.

``myst exec-linux`` and ``exec-sgx`` sign their throw-away packages with it, and ``myst verify`` refuses
every package that carries it. Why one fixed key: docs/design/decisions/0004-development-key.md.

>>> signer().public_modulus().bit_length()
3072
"""

from __future__ import annotations

from mystikos.signers import PemSigner

__all__ = ["signer"]

_KEY = b"""\
-----BEGIN PRIVATE KEY-----
MIIG/gIBADANBgkqhkiG9w0BAQEFAASCBugwggbkAgEAAoIBgQDLn0jx13sMgUXJ
xknHCIHVAZPWfhYcrS7oz8OE2R8XwsvHMuoNGe1hYJA+f2TSKQIdnyBhprUEOipj
pee+3S1QkFlW4sbJ+CJOZPwbCkd43bciludYVqDFgBBzXAq8VaXvlSHBaczjpykR
VBkshAia4wMi6HhBxoR4HvRkt+BrSRva4rHa7K1nllS3PGXdIPN5Ix7mCmIVNCir
Zg9Pl0HEGvOcNB2bpcV/BUj8h1phhwIjDQzOpUhleOpuSBiQmhYcWRO1O9VYJdne
SUBQSihx1AaFEEWAU1cSgYI+9aiocAsvOIOkR1qxC1NwRD1a0UJur3b6Q7SPxlRV
iNSJ0q5mvoeP81y0EsiOh3H73/xZGlhe75mQQ94LZUTUmizXCf3gDAzSimmqPZ7z
7V6YH0H8a3W1+5hehBJqCf+oEVQWzWrFvEd1wxp99axslGKvOvPA/1EKcCEBnbDO
ub9gJCkzvKeWkcEWnCIoBejQ5Ax0CLdvQ1l9mGnZTI68lgZfyjECAQMCggGBAIe/
hfaPp12rg9vZhoSwVo4BDTmpZBMeH0Xf163mFLqB3S93RrNmnkDrCtRU7eFwrBO/
auvEeK18HEJumn8+HjW1kOSXLzFQFt7t/WdcL6XpJMG575A5wIOqtaI9XH2Obp+4
wSub3e0aG2Diu3MCsGdCAhdFpYEvAvq/TZh6lZzbZ+dBy+dIc5pkOHooQ+jAolDC
FJlcQWN4GxzutN+6K9gR9714E70ZLlSuMKhaPEEErBdeCInDhZj7RvQwEGBmuDdn
C83UIBruazaULU+8sGTa56PxGIML0K0KHgBRAb+uan/3AMpPHBHZnCTSMy8d709o
f1hJf4pNTxkSz8PBnDCKx3NUiw9Lizs20kiOMgODO9M73JXiER3wou/uzAnCKgjd
uduKpBMQT2MlGUFne/0s1c7iYi2cpL7iFNbiiZ04wJROs7sNRM292zuXZf8IHBz1
RqAojkijHK9RQcbIAAc9VRzxkGSHC+e28jOGacuNZJBm5dFN5ASE+cdtRzoAowKB
wQDwfKNstKpxIRHzsbAqklryLIdU36CS95vo78A2nSXAiVlmzEo8Wrxk3JUlB7dr
IxP+yOVFNwOwHNiVf9j1pA4uYChNE4AFbTla0bPgFl2p0vv3n45rHmiLqv88/3wJ
QnTb0sSFugDDqboXL68vIHdT8uPHDsBvzPCcjAlkrqiR24ivzLH2sN3kbfpbPYuR
ObUVB4HGmTQg9VXFYRIYMefApPitATzOYCuDh5lvT9qCGCDb2FIPuxLurUkZdShF
wqsCgcEA2MHek8j6vp8nGLlMLhzE6F8jukcAKMoCJgKVB98ASGESCHm4OHX0MWhU
FAE5KQFHeMnSsJ5xkDWFGmzD7ow17440FeEMF7Q+WuOCrvRTqgKCqnZARFJb0tFR
L7R+vyRJ9uyxg4ByyfttyAYJhuOQrLVROJlEqkwqryrXAQ7dGRzBN3mH5n5VZOrp
N/O+H3UUgIflU5oXc7OwAl7KncZBaDuvPiYrsXFkyOvkFEqTQJx/utCus+iA49fO
9/zzQwaTAoHBAKBTF53NxvYWC/fLyscMPKFzBOM/wGH6Z/Cf1Xm+GSsGO5ndhtLn
KEM9uMNaekdst/8wmNjPV8q95bj/5fkYCXRAGt4NAAOeJjyLzUAO6Rvh/U+/tEdp
mwfHVNNU/VuBoz03La58AIJxJrofyh9q+jf3QoS0gEqIoGhdW5h0cGE9BcqIdqR1
6ULz/DzTsmDRI2NaVoRmIsCjjoOWDBAhRSsYpcirfd7qx60FEPTf5wFlaz064V/S
DJ8eMLujcC6BxwKBwQCQgT8NMKcpv29l0N10Ey3wP20m2gAbMVbEAbiv6gAwQLaw
USV6+U12RY1iq3twq4T7MTcgaaEKzli8SIKfCCP1CXgOlggPzX7nQlcfTY0cAaxx
pCrYNufh4ODKeFR/bYakncutAEyGp56FWVuvQmBzI4t7ENhxiBx0xzoAtJNmEyt6
UQVEVDjt8fDP99QU+LhVr+43vA+id8qsPzG+hCua0nTUGXJ2S5iF8pgNhwzVvap8
ix8imwCX5TSlU0zXWbcCgcEAq8TrwNDiZ06XSSQ+ZGlZgFeybMO9vcnPH1Cg0rZW
D7n3/baTGZdeTiy05qU0IB5IlZOPoR43iTh/sv7w8EvvjRDZOZ0eUiVSyRsIXkuq
S45K3D0SMSNgnXUrl1YPOgx3bVBKg66g+2BbCPyAEDmMUjyqVBhljRyPyyGLjJ25
QKEYTHckTYlX1WtePz46n8iUiJjGMzupoF0/Jp9jf17aN6T+rnhdaKVgwuAeI2if
WTOVJAypg69OzdQLfJhPbwb9
-----END PRIVATE KEY-----
"""


def signer() -> PemSigner:
    """The signer that everybody has."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    # The key is a constant of this file: proving its primes again would cost more than signing.
    key = serialization.load_pem_private_key(_KEY, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, rsa.RSAPrivateKey)
    return PemSigner(key)
