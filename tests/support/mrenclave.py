"""MRENCLAVE, obviously right and slow: every record of SDM 3D, one after the other."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

from mystikos.formats.content import Content
from mystikos.formats.descriptor import Enclave, Section, Slice, Tcs


def reference(enclave: Enclave, contents: Mapping[Section, Content]) -> bytes:
    """Hash ECREATE, and page by page EADD and EEXTEND."""
    digest = hashlib.sha256()
    digest.update(struct.pack("<8sIQ", b"ECREATE", enclave.ssa_frame_pages, enclave.size).ljust(64, b"\0"))
    for region in enclave.regions:
        content = bytes(region.size)
        if isinstance(region.source, Tcs):
            content = region.source.page()
        if isinstance(region.source, Slice):
            whole = b"".join(contents[region.source.section].chunks())
            end = region.source.offset + region.source.size
            content = whole[region.source.offset : end].ljust(region.size, b"\0")
        for at in range(0, region.size, 4096):
            offset = region.offset + at
            digest.update(struct.pack("<8sQQ", b"EADD", offset, region.secinfo).ljust(64, b"\0"))
            for chunk in range(at, at + 4096, 256) if region.measured else ():
                digest.update(struct.pack("<8sQ", b"EEXTEND", region.offset + chunk).ljust(64, b"\0"))
                digest.update(content[chunk : chunk + 256])
    return digest.digest()
