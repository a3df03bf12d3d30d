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
import itertools
import logging
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mystikos.errors import LayoutError
from mystikos.formats.descriptor import PAGE, Enclave, Kind, Region, Section, Slice, Tcs, page_count

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from mystikos.formats.content import Content

__all__ = ["MARK_SIZE", "Measurement", "Progress", "mark_stride", "measure"]

_LOG = logging.getLogger(__name__)
_CHUNK = 256
_RECORD = 64
_CHUNKS_PER_PAGE = PAGE // _CHUNK
_EXTEND_STRIDE = _RECORD + _CHUNK
_PAGE_STRIDE = _RECORD + _CHUNKS_PER_PAGE * _EXTEND_STRIDE
_BATCH_PAGES = 128
_BATCH_SIZE = _BATCH_PAGES * PAGE
_BATCHES = 4  # one is filled while the others wait for the hash
_EADD_BATCH = 8192
_EADD = int.from_bytes(b"EADD\0\0\0\0", "little")
_EEXTEND = int.from_bytes(b"EEXTEND\0", "little")
_ECREATE = struct.Struct("<8sIQ44x")

MARK_SIZE = 8
"""Bytes of a mark: it is compared with one of its own place only, and proves nothing."""
_MOST_MARKS = 1024

assert _PAGE_STRIDE == 5184

Progress = Callable[[int], None]
"""Told the number of content bytes that were just folded."""


@dataclass(frozen=True)
class Measurement:
    """MRENCLAVE, and how it came about: what it would be if the enclave ended after each of its regions.

    Where two traces part is the first region that differs. ``marks`` are the beginnings of the same digests
    inside the root file system, one after every ``mark_stride`` of its pages: where two of these part, the
    first pages are that differ.
    """

    mrenclave: bytes
    trace: tuple[bytes, ...]
    marks: tuple[bytes, ...] = ()


def mark_stride(pages: int) -> int:
    """How many pages there are to each mark of a root file system of so many: at most 1024 marks."""
    return max(1, -(-pages // _MOST_MARKS))


def measure(
    enclave: Enclave,
    contents: Mapping[Section, Content],
    *,
    progress: Progress | None = None,
) -> Measurement:
    """Fold an enclave into its MRENCLAVE, reading every measured byte once and in ascending order."""
    with _Hasher() as records:
        records.update(_ECREATE.pack(b"ECREATE\0", enclave.ssa_frame_pages, enclave.size))
        batches = itertools.cycle([_Batch() for _ in range(_BATCHES)])
        marked = next((region for region in enclave.regions if region.kind is Kind.ROOTFS), None)
        trace = []
        marks = []
        for region in enclave.regions:
            if not region.measured:
                _add_only(region, records)
            for offset, batch in _batches(region, contents, batches):
                cuts = _cuts(region.pages, offset // PAGE, page_count(batch.size)) if region is marked else ()
                hashing = records.update(batch.records(region.offset + offset, region.secinfo), cuts)
                batch.waits_for(hashing)
                if cuts:
                    marks.append(hashing)
                if progress:
                    progress(batch.size)
            trace.append(records.digest())
        measured = Measurement(
            records.digest().result(),
            tuple(digest.result() for digest in trace),
            tuple(mark for hashing in marks for mark in hashing.result()),
        )
        _LOG.info("measured: MRENCLAVE %s", measured.mrenclave.hex())
        return measured


def _cuts(pages: int, first: int, count: int) -> Sequence[int]:
    """Where marks are in the records of ``count`` pages, from the page ``first`` of a region on."""
    stride = mark_stride(pages)
    ends = range(first + 1, first + count + 1)
    return [(end - first) * _PAGE_STRIDE for end in ends if end % stride == 0 or end == pages]


class _Hasher:
    """SHA-256 in a thread of its own."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._executor = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        # An exception out of a signal handler may have left a lock of the thread's for ever: never wait then.
        self._executor.shutdown(wait=failure is None, cancel_futures=True)

    def update(self, buffer: bytes | memoryview, cuts: Sequence[int] = ()) -> Future[list[bytes]]:
        """Hash ``buffer`` after those before; it must not change until that is done.

        The result is a mark for each of ``cuts``, ascending offsets in it.
        """
        return self._executor.submit(self._update, buffer, cuts)

    def _update(self, buffer: bytes | memoryview, cuts: Sequence[int]) -> list[bytes]:
        marks = []
        start = 0
        for cut in cuts:
            self._hash.update(buffer[start:cut])
            marks.append(self._hash.digest()[:MARK_SIZE])
            start = cut
        self._hash.update(buffer[start:])
        return marks

    def digest(self) -> Future[bytes]:
        """The digest of everything up to here; more can follow."""
        return self._executor.submit(self._hash.digest)


class _Batch:
    """Some pages, and the records of them with the pages between: buffers that are used again and again."""

    def __init__(self) -> None:
        self.size = 0
        self._pages = np.zeros((_BATCH_PAGES, PAGE), dtype=np.uint8)
        self._bytes = self._pages.reshape(-1)
        self._hashing: list[Future[list[bytes]]] = []

        self._stream = np.zeros((_BATCH_PAGES, _PAGE_STRIDE), dtype=np.uint8)
        self._eadds = self._stream[:, :_RECORD].view("<u8")
        extends = self._stream[:, _RECORD:].reshape(_BATCH_PAGES, _CHUNKS_PER_PAGE, _EXTEND_STRIDE)
        self._eextends = extends[:, :, :_RECORD].view("<u8")
        self._chunks = extends[:, :, _RECORD:]
        self._eextends[:, :, 0] = _EEXTEND

    def clear(self) -> None:
        """Wait until nobody reads the buffers any more, and start anew."""
        for future in self._hashing:
            future.result()
        self._hashing.clear()
        self.size = 0

    def waits_for(self, future: Future[list[bytes]]) -> None:
        """Somebody reads the buffers until ``future`` is done."""
        self._hashing.append(future)

    def take(self, data: memoryview) -> memoryview:
        """Append as much of ``data`` as there is room for; return the rest."""
        taken = data[: _BATCH_SIZE - self.size]
        # Numpy copies without the interpreter's lock, for which the thread that hashes would have to wait.
        self._bytes[self.size : self.size + len(taken)] = np.asarray(taken, dtype=np.uint8)
        self.size += len(taken)
        return data[len(taken) :]

    @property
    def full(self) -> bool:
        return self.size == _BATCH_SIZE

    def records(self, first: int, secinfo: int) -> memoryview:
        """What the pages append, the first being at offset ``first``: EADD, then sixteen times EEXTEND."""
        pages = page_count(self.size)
        self._bytes[self.size : pages * PAGE] = 0

        _fill_eadds(self._eadds[:pages], first, secinfo)
        offsets = np.arange(first, first + pages * PAGE, _CHUNK, dtype="<u8")
        self._eextends[:pages, :, 1] = offsets.reshape(pages, _CHUNKS_PER_PAGE)
        self._chunks[:pages] = self._pages[:pages].reshape(pages, _CHUNKS_PER_PAGE, _CHUNK)
        return self._stream[:pages].reshape(-1).data


def _batches(
    region: Region, contents: Mapping[Section, Content], batches: Iterator[_Batch]
) -> Iterator[tuple[int, _Batch]]:
    """A measured region's bytes as (offset in the region, batch): whole pages, but for the last one."""
    offset = 0
    batch = next(batches)
    batch.clear()
    for chunk in _content(region, contents):
        rest = batch.take(chunk)
        while batch.full:
            yield offset, batch
            offset += batch.size
            batch = next(batches)
            batch.clear()
            rest = batch.take(rest)
    if batch.size:
        yield offset, batch


def _content(region: Region, contents: Mapping[Section, Content]) -> Iterator[memoryview]:
    source = region.source
    if isinstance(source, Slice):
        yield from _slice(contents[source.section], source.offset, source.size)
    elif isinstance(source, Tcs):
        yield memoryview(source.page())


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


def _add_only(region: Region, hasher: _Hasher) -> None:
    """What a region without EEXTEND appends: one record per page."""
    busy: deque[Future[list[bytes]]] = deque()
    for done in range(0, region.pages, _EADD_BATCH):
        records = np.zeros((min(_EADD_BATCH, region.pages - done), _RECORD // 8), dtype="<u8")
        _fill_eadds(records, region.offset + done * PAGE, region.secinfo)
        busy.append(hasher.update(records.reshape(-1).data))
        if len(busy) == _BATCHES:
            busy.popleft().result()


def _fill_eadds(records: NDArray[np.uint64], first: int, secinfo: int) -> None:
    """Tag, offset and SECINFO of EADD records whose other bytes are zero."""
    records[:, 0] = _EADD
    records[:, 1] = np.arange(first, first + len(records) * PAGE, PAGE, dtype="<u8")
    records[:, 2] = secinfo
