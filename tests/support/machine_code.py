"""Small ELF files for tests: a text of hand-written instructions, symbols and data, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Sequence

TEXT = 0x401000  # address of the text; its file offset is 0x1000
TEXT_OFFSET = 0x1000
DATA = 0x500000  # address of the data behind it
ET_EXEC, ET_DYN = 2, 3

_DT_TEXTREL = 22


def elf(
    text: bytes,
    functions: Sequence[tuple[int, int]] | None = None,
    *,
    data: bytes = b"",
    kind: int = ET_DYN,
    text_relocations: bool = False,
    sections: bool = True,
) -> bytes:
    """An ELF file with ``text`` at TEXT and ``data`` at DATA.

    ``functions`` are (offset, size) in the text, listed in a symbol table; by default one that is all of it.
    """
    functions = [(0, len(text))] if functions is None else functions
    data_offset = TEXT_OFFSET + -(-len(text) // 4096) * 4096
    dynamic = struct.pack("<qQqQ", _DT_TEXTREL, 0, 0, 0) if text_relocations else b""
    dynamic_offset = data_offset + len(data)
    symbols = bytes(24) + b"".join(
        struct.pack("<IBBHQQ", 0, 2, 0, 1, TEXT + offset, size) for offset, size in functions
    )
    symbols_offset = -(-(dynamic_offset + len(dynamic)) // 8) * 8
    names = b"\0.text\0.symtab\0.shstrtab\0"
    names_offset = symbols_offset + len(symbols)
    headers_offset = -(-(names_offset + len(names)) // 8) * 8

    segments = [(1, 5, TEXT_OFFSET, TEXT, len(text)), (1, 6, data_offset, DATA, len(data) + len(dynamic))]
    if dynamic:
        segments.append((2, 6, dynamic_offset, DATA + len(data), len(dynamic)))
    section_headers = [
        bytes(64),
        struct.pack("<IIQQQQIIQQ", 1, 1, 6, TEXT, TEXT_OFFSET, len(text), 0, 0, 16, 0),
        struct.pack("<IIQQQQIIQQ", 7, 2, 0, 0, symbols_offset, len(symbols), 3, 0, 8, 24),
        struct.pack("<IIQQQQIIQQ", 15, 3, 0, 0, names_offset, len(names), 0, 0, 1, 0),
    ]

    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        kind,
        62,
        1,
        TEXT,
        64,
        headers_offset if sections else 0,
        0,
        64,
        56,
        len(segments),
        64,
        len(section_headers) if sections else 0,
        3 if sections else 0,
    )
    program_headers = b"".join(
        struct.pack("<IIQQQQQQ", kind_, flags, offset, address, address, size, size, 4096)
        for kind_, flags, offset, address, size in segments
    )
    image = bytearray(header + program_headers)
    for offset, content in (
        (TEXT_OFFSET, text),
        (data_offset, data),
        (dynamic_offset, dynamic),
        *([(symbols_offset, symbols), (names_offset, names)] if sections else []),
        *([(headers_offset, b"".join(section_headers))] if sections else []),
    ):
        image.extend(bytes(max(offset - len(image), 0)))
        image[offset : offset + len(content)] = content
    return bytes(image)
