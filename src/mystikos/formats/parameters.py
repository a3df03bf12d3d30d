"""The parameter page: what the kernel finds at its FS base, first page of ``.mystconfig``.

It tells the kernel where everything lies that the layout put into its enclave. The format is
docs/reference/package-format.md, section ``.mystconfig``.

>>> Place(0x1000, 5).end
4101
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mystikos import _abi

_PAGE = _abi.PAGE_SIZE
_STRUCT = struct.Struct("<8sII5Q14Q3Q2Q2QIIQQQQQQ")
_FLAGS = _abi.PARAMETERS_ZERO_BASED | _abi.PARAMETERS_DEBUG


class ParametersError(ValueError):
    """The page breaks a rule of the format."""


@dataclass(frozen=True)
class Place:
    """Where something lies: offset from the enclave's base (or from the section's start), size in bytes."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """The first offset after it."""
        return self.offset + self.size


@dataclass(frozen=True)
class Parameters:
    """The page's fields in its order; ``record`` and ``json`` count from the section's start."""

    zero_based: bool
    debug: bool
    record: Place
    json: Place
    enclave_size: int
    kernel: Place
    crt: Place
    config: Place
    bindings: Place
    pubkeys: Place
    roothashes: Place
    rootfs: Place
    threads_offset: int
    threads_stride: int
    threads_count: int
    block_ssa: int
    block_thread_area: int
    block_stack: Place
    nssa: int
    ssa_frame_pages: int
    heap: Place
    user: Place
    window: Place

    def page(self) -> bytes:
        """The page's 4096 bytes."""
        flags = (_abi.PARAMETERS_ZERO_BASED if self.zero_based else 0) | (
            _abi.PARAMETERS_DEBUG if self.debug else 0
        )
        fields = _STRUCT.pack(
            _abi.PARAMETERS_MAGIC, _abi.PARAMETERS_VERSION, flags,
            self.record.offset, self.record.size, self.json.offset, self.json.size, self.enclave_size,
            *_flat(self.kernel, self.crt, self.config, self.bindings),
            *_flat(self.pubkeys, self.roothashes, self.rootfs),
            self.threads_offset, self.threads_stride, self.threads_count,
            self.block_ssa, self.block_thread_area, *_flat(self.block_stack),
            self.nssa, self.ssa_frame_pages,
            *_flat(self.heap, self.user, self.window),
        )  # fmt: skip
        return fields.ljust(_PAGE, b"\0")


def _flat(*places: Place) -> list[int]:
    return [value for place in places for value in (place.offset, place.size)]


def decode(page: bytes) -> Parameters:
    """Decode a parameter page of whatever origin; reserved bytes must be zero."""
    if len(page) < _PAGE:
        raise ParametersError(f"{len(page)} bytes are less than a page")
    magic, version, flags, *fields = _STRUCT.unpack_from(page)
    if magic != _abi.PARAMETERS_MAGIC:
        raise ParametersError(f"magic {magic!r} is not {_abi.PARAMETERS_MAGIC!r}")
    if version != _abi.PARAMETERS_VERSION:
        raise ParametersError(f"version {version} is not {_abi.PARAMETERS_VERSION}")
    if flags & ~_FLAGS or any(page[_STRUCT.size : _PAGE]):
        raise ParametersError("reserved bits are set")

    values = iter(fields)

    def number() -> int:
        return int(next(values))

    def place() -> Place:
        return Place(number(), number())

    return Parameters(
        zero_based=bool(flags & _abi.PARAMETERS_ZERO_BASED),
        debug=bool(flags & _abi.PARAMETERS_DEBUG),
        record=place(),
        json=place(),
        enclave_size=number(),
        kernel=place(),
        crt=place(),
        config=place(),
        bindings=place(),
        pubkeys=place(),
        roothashes=place(),
        rootfs=place(),
        threads_offset=number(),
        threads_stride=number(),
        threads_count=number(),
        block_ssa=number(),
        block_thread_area=number(),
        block_stack=place(),
        nssa=number(),
        ssa_frame_pages=number(),
        heap=place(),
        user=place(),
        window=place(),
    )
