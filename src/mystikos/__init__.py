"""Turn a Linux program, a key and a config into one signed, measured executable for Intel SGX.

One direction, one artefact per stage::

    config → rootfs → binding → layout → measurement → signature → package

Each module is named after the artefact it makes and takes earlier artefacts only; ``pipeline`` alone
knows the order. Imports point one way: ``errors``, ``formats``, ``_abi`` ← stages ← ``pipeline`` ← ``cli``.
"""

__version__ = "0.1.0"
