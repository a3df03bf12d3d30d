"""Stage 4: fold a layout into a measurement (MRENCLAVE).

MRENCLAVE is the SHA-256 of what ECREATE, EADD and EEXTEND append while the enclave is loaded (SDM 3D,
"Measurement"): one 64-byte record for ECREATE, one per added page, and for a measured page sixteen
times a 64-byte record and the 256 bytes it speaks of. A measured page is so 5184 hashed bytes.

    measurement = measure(layout.enclave, layout.contents)
    measurement.mrenclave.hex()

The records are interleaved with the pages by numpy, a batch at a time; the hash runs in a thread of its
own (hashlib releases the interpreter lock) while the next batch is prepared. Memory is bounded by a few
batches, whatever the size of the enclave.
"""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mystikos.errors import LayoutError
from mystikos.formats.descriptor import PAGE, Enclave, Region, Section, Slice, Tcs, page_count

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from mystikos.formats.content import Content

__all__ = ["Measurement", "Progress", "measure"]

_CHUNK = 256
_RECORD = 64
_CHUNKS_PER_PAGE = PAGE // _CHUNK
_EXTEND_STRIDE = _RECORD + _CHUNK
_PAGE_STRIDE = _RECORD + _CHUNKS_PER_PAGE * _EXTEND_STRIDE
_BATCH_SIZE = 128 * PAGE
_BATCHES_WAITING = 3
_EADD_BATCH = 8192
_EADD = int.from_bytes(b"EADD\0\0\0\0", "little")
_EEXTEND = int.from_bytes(b"EEXTEND\0", "little")
_ECREATE = struct.Struct("<8sIQ44x")

assert _PAGE_STRIDE == 5184

_Bytes = bytes | bytearray | memoryview
Progress = Callable[[int], None]
"""Told the number of content bytes that were just folded."""


@dataclass(frozen=True)
class Measurement:
    """MRENCLAVE, and per region the SHA-256 of its bytes (zeros where it has none)."""

    mrenclave: bytes
    digests: tuple[bytes, ...]


def measure(
    enclave: Enclave,
    contents: Mapping[Section, Content],
    *,
    digests: bool = True,
    progress: Progress | None = None,
) -> Measurement:
    """Fold an enclave into its MRENCLAVE, reading every measured byte once and in ascending order.

    ``digests`` asks also for the regions' own digests, which costs about as much again.
    """
    with _Hasher() as records, _Hasher() as bytes_of_region:
        records.update(_ECREATE.pack(b"ECREATE\0", enclave.ssa_frame_pages, enclave.size))
        found = []
        for region in enclave.regions:
            if not region.measured:
                for buffer in _eadd_records(region):
                    records.update(buffer)
            for offset, data in _batches(region, contents):
                records.update(_page_records(region, offset, data))
                if digests and isinstance(region.source, Slice):
                    bytes_of_region.update(data)
                if progress:
                    progress(len(data))
            found.append(bytes_of_region.finish())
        return Measurement(records.finish(), tuple(found))


class _Hasher:
    """SHA-256 in a thread of its own; at most a few buffers wait for it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._executor = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()

    def update(self, buffer: _Bytes) -> None:
        """Hash ``buffer`` soon: it must not change any more."""
        self._waiting.append(self._executor.submit(self._hash.update, buffer))
        if len(self._waiting) > _BATCHES_WAITING:
            self._waiting.popleft().result()

    def finish(self) -> bytes:
        """The digest of everything since the last time; 32 zero bytes when that is nothing."""
        if not self._waiting:
            return bytes(32)
        while self._waiting:
            self._waiting.popleft().result()
        digest = self._hash.digest()
        self._hash = hashlib.sha256()
        return digest


def _batches(region: Region, contents: Mapping[Section, Content]) -> Iterator[tuple[int, _Bytes]]:
    """A measured region's bytes as (offset in the region, bytes): whole pages, but for the last batch."""
    if isinstance(region.source, Tcs):
        yield 0, region.source.page()
    elif isinstance(region.source, Slice):
        source = region.source
        yield from _whole_pages(_slice(contents[source.section], source.offset, source.size))
    elif region.measured:
        zeros = bytes(_BATCH_SIZE)
        for offset in range(0, region.size, _BATCH_SIZE):
            yield offset, memoryview(zeros)[: region.size - offset]


def _slice(content: Content, offset: int, size: int) -> Iterator[memoryview]:
    """``size`` bytes of a content from ``offset`` on, as its chunks come."""
    position, end = 0, offset + size
    for chunk in content.chunks():
        view = memoryview(chunk)
        yield view[max(offset - position, 0) : max(end - position, 0)]
        position += len(view)
        if position >= end:
            return
    raise LayoutError("measurement", f"a section ends at {position:#x}", expected=f"{end:#x} bytes")


def _whole_pages(chunks: Iterable[memoryview]) -> Iterator[tuple[int, _Bytes]]:
    """Regroup chunks of any size into batches of whole pages, without a copy where that is possible."""
    offset = 0
    pending = bytearray()
    for chunk in chunks:
        if pending:
            missing = _BATCH_SIZE - len(pending)
            pending += chunk[:missing]
            chunk = chunk[missing:]
            if len(pending) < _BATCH_SIZE:
                continue
            yield offset, pending
            offset += _BATCH_SIZE
            pending = bytearray()
        while len(chunk) >= _BATCH_SIZE:
            yield offset, chunk[:_BATCH_SIZE]
            offset += _BATCH_SIZE
            chunk = chunk[_BATCH_SIZE:]
        pending += chunk
    if pending:
        yield offset, pending


def _page_records(region: Region, offset: int, data: _Bytes) -> _Bytes:
    """What a batch of measured pages appends: per page EADD, then sixteen times EEXTEND and its bytes."""
    size = len(data)
    pages = page_count(size)
    if size % PAGE:
        data = bytes(data).ljust(pages * PAGE, b"\0")

    stream = np.empty((pages, _PAGE_STRIDE), dtype=np.uint8)
    first = region.offset + offset
    _fill_eadd(stream[:, :_RECORD].view("<u8"), first, region.secinfo)
    extends = stream[:, _RECORD:].reshape(pages, _CHUNKS_PER_PAGE, _EXTEND_STRIDE)
    heads = extends[:, :, :_RECORD].view("<u8")
    heads[:] = 0
    heads[:, :, 0] = _EEXTEND
    heads[:, :, 1] = np.arange(first, first + pages * PAGE, _CHUNK, dtype="<u8").reshape(pages, -1)
    extends[:, :, _RECORD:] = np.frombuffer(data, dtype=np.uint8).reshape(pages, _CHUNKS_PER_PAGE, _CHUNK)
    return stream.reshape(-1).data


def _eadd_records(region: Region) -> Iterator[_Bytes]:
    """What a region without EEXTEND appends: a record per page."""
    for done in range(0, region.pages, _EADD_BATCH):
        records = np.empty((min(_EADD_BATCH, region.pages - done), _RECORD // 8), dtype="<u8")
        _fill_eadd(records, region.offset + done * PAGE, region.secinfo)
        yield records.reshape(-1).data


def _fill_eadd(records: NDArray[np.uint64], first: int, secinfo: int) -> None:
    records[:] = 0
    records[:, 0] = _EADD
    records[:, 1] = np.arange(first, first + len(records) * PAGE, PAGE, dtype="<u8")
    records[:, 2] = secinfo
