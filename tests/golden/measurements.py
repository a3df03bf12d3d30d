"""Known measurements: what they are of, and ``python -m tests.golden.measurements`` to write them anew.

Provenance: tests/support/mrenclave.py, which hashes every record of SDM volume 3D ("Measurement") one after
the other with ``hashlib`` and ``struct`` only, on 2026-11-23. The native launcher, which folds the same
records in Rust, agrees with it for every package that the tests run. A difference means that packages
which were signed before will not load any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mystikos import _abi
from mystikos.formats.content import BytesContent, Content
from mystikos.formats.descriptor import (
    PAGE,
    REG_R,
    REG_RW,
    REG_RWX,
    REG_RX,
    Enclave,
    Kind,
    Region,
    Section,
    Slice,
    Tcs,
)
from tests.support.mrenclave import reference

FILE = Path(__file__).with_name("measurements.json")

Case = tuple[Enclave, Mapping[Section, Content]]


def cases() -> dict[str, Case]:
    """By name, every kind of record."""
    data = bytes(range(256)) * 40
    file = {Section.ROOTFS: BytesContent(data)}
    whole = Region(Kind.ROOTFS, 0, 3, REG_R, True, Slice(Section.ROOTFS, 0, len(data)))
    tcs = Region(Kind.TCS, 0x10000, 1, _abi.SECINFO_TCS, True, Tcs(0x11000, 0x1234, 0x2000, 0x15000))
    return {
        "nothing but ECREATE, 2 MiB": (Enclave(2 << 20, False, ()), {}),
        "nothing but ECREATE, 128 GiB": (Enclave(1 << 37, False, ()), {}),
        "one added page": (Enclave(2 << 20, False, (Region(Kind.HEAP, PAGE, 1, REG_RW),)), {}),
        "20000 added pages": (Enclave(1 << 27, False, (Region(Kind.USER, PAGE, 20000, REG_RWX),)), {}),
        "10240 measured bytes": (Enclave(2 << 20, False, (whole,)), file),
        "a thread": (Enclave(2 << 20, False, (tcs, Region(Kind.SSA, 0x11000, 3, REG_RW))), {}),
        "text at an address": (
            Enclave(
                1 << 24, True, (Region(Kind.CRT, 0x404000, 1, REG_RX, True, Slice(Section.ROOTFS, 0, 77)),)
            ),
            file,
        ),
    }


def made() -> str:
    """The file's content, made anew."""
    values = {name: reference(enclave, contents).hex() for name, (enclave, contents) in cases().items()}
    return json.dumps(values, indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(made())
