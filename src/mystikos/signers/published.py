"""Stage 5a: keys whose private halves are public. What they sign has no signer: everybody can sign with them.

>>> PUBLISHED_KEYS["83d719e77deaca1470f6baf62a4d774303c899db69020f9c70ee1dfc08c7ce9e"]
'Intel SGX SDK samples, Occlum'
"""

from __future__ import annotations

__all__ = ["PUBLISHED_KEYS"]

PUBLISHED_KEYS = {
    "e5f695ccc2a3f4e1aef726e1296df4e929ea328cb5cf5e9a2d0dac53a189fd33": "mystikos, myst exec-linux",
    "83d719e77deaca1470f6baf62a4d774303c899db69020f9c70ee1dfc08c7ce9e": "Intel SGX SDK samples, Occlum",
    "5e70caf3b3bb3b5dfaacfeaea8c2170d94e2f8c347b896f38640692b770e223f": "Intel SGX SDK Eclipse template",
    "9664d90755bd901069d4725cdd428038473d726f1cec0edf0d78e18a596b1d4e": "Intel launch enclave, test key",
    "fbbf17d6b0700e63ad55520f17ed6d2e06c2832217cd992bad243b5022ee83bc": "Intel launch enclave, launch key",
    "298037d88782e022e019b3020745b78aa40ed95c77da4bf7f3253d3a44c4fd7e": "Enarx test data",
    "2f9f8fd4fe12d77232f1d87571ca8252ca27714efe7705e46222cffd5a22e8c4": "Enarx sgx crate tests",
    "c30446b4be9baf0f69728423ea613ef81a63e72acf7439fa0549001fd5482835": "Occlum local attestation demo",
    "3b0afc0422ae85733e021ad4df327acecb8a5b6d390c97187dde080153e0fb70": "Open Enclave project template",
    "6c1c59c89ed4dd9825649494fcb2ebf96a8a617a1d0589fe0147f0ef1b3f784d": "Open Enclave attested TLS client",
    "9fa48b1629bd246a1de3d38fb7df97f6554cd65d6b3b72e85b86848ae6b578ba": "Open Enclave attested TLS server",
}
"""MRSIGNER (hexadecimal) of each, and where it is published."""
