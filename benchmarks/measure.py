"""How fast MRENCLAVE is folded, against the SHA-256 speed of this machine.

A measured page of 4096 bytes takes 5184 hashed ones, so the best that one hash can do is the speed of
SHA-256 times 4096/5184.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import Result
from mystikos.formats.descriptor import PAGE, REG_R, Enclave, Kind, Region, Section, Slice
from mystikos.measurement import measure

_MIB = 1 << 20
_ROUNDS = {64: 16, 1024: 6}  # by MiB: short runs slip between what else the machine does
_BAR = 0.80


@dataclass(frozen=True)
class _Repeated:
    """A content of one MiB over and over, so that nothing but the folding is timed."""

    block: bytes
    times: int

    @property
    def size(self) -> int:
        return len(self.block) * self.times

    def chunks(self) -> Iterator[bytes]:
        for _ in range(self.times):
            yield self.block


def run() -> Iterator[Result]:
    """64 MiB and 1 GiB."""
    for mebibytes, count in _ROUNDS.items():
        rounds = [_round(mebibytes) for _ in range(count)]
        limit, speed = (max(speeds) for speeds in zip(*rounds, strict=True))
        yield Result(
            f"measuring {mebibytes} MiB",
            speed / limit,
            _BAR,
            True,
            f"{speed / 1e6:.0f} MB/s; 4096/5184 of SHA-256: {limit / 1e6:.0f} MB/s",
        )


def _round(mebibytes: int) -> tuple[float, float]:
    """(limit, speed) in content bytes per second."""
    content = _Repeated(bytes(range(256)) * (_MIB // 256), mebibytes)
    return _sha256_speed(min(content.size, 256 * _MIB)) * PAGE / 5184, _measuring_speed(content)


def _sha256_speed(size: int) -> float:
    block, digest = bytes(_MIB), hashlib.sha256()
    start = time.perf_counter()
    for _ in range(size // _MIB):
        digest.update(block)
    return size / (time.perf_counter() - start)


def _measuring_speed(content: _Repeated) -> float:
    region = Region(Kind.ROOTFS, 0, content.size // PAGE, REG_R, True, Slice(Section.ROOTFS, 0, content.size))
    enclave = Enclave(2 * content.size, False, (region,))
    start = time.perf_counter()
    measure(enclave, {Section.ROOTFS: content})
    return content.size / (time.perf_counter() - start)
