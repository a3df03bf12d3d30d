"""What ``diff`` finds, as plain facts; "before" is of the first input, "after" of the second."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FileState:
    """An entry of a root file system: mode as text, size in bytes, SHA-256 (of regular files), link target.

    ``linked_to`` is the first path of the file's hard links where it has several.
    """

    mode: str
    size: int
    sha256: str | None = None
    target: bytes | None = None
    linked_to: bytes | None = None
    links: int = 1


@dataclass(frozen=True)
class FileChange:
    """A path that only one side has, or whose entry differs; ``what`` names the differing attributes."""

    path: bytes
    what: tuple[str, ...]  # ("added",), ("removed",), or of: type, mode, size, content, target, links
    before: FileState | None
    after: FileState | None


@dataclass(frozen=True)
class FieldChange:
    """A config key, or a field of SIGSTRUCT or of the descriptor."""

    name: str
    before: object
    after: object


@dataclass(frozen=True)
class ContentChange:
    """A part of a package whose bytes differ; ``offset`` is that of the first byte that does."""

    part: str
    measured: bool
    offset: int
    size_before: int
    size_after: int
    sha256_before: str
    sha256_after: str


@dataclass(frozen=True)
class Pages:
    """All regions of one kind: how many, their pages, the offset of the first, their rights."""

    regions: int
    pages: int
    offset: int
    rights: str


@dataclass(frozen=True)
class LayoutChange:
    """A kind of region that lies elsewhere, or is of another size."""

    kind: str
    before: Pages | None
    after: Pages | None


@dataclass(frozen=True)
class FirstPage:
    """Where the two measurements part: the page's offset from the enclave's base, and what is there.

    A side that has no page there tells no region. ``file_before`` and ``file_after`` are the entries of the
    root file system (or the parts of the config) that the first differing byte belongs to.
    """

    offset: int
    region_before: str | None
    region_after: str | None
    file_before: bytes | None = None
    file_after: bytes | None = None


@dataclass(frozen=True)
class Difference:
    """Everything that differs between two inputs of one kind (package, config or rootfs)."""

    kind: str
    mrenclave_before: str | None = None  # as signed
    mrenclave_after: str | None = None
    first_page: FirstPage | None = None
    files: tuple[FileChange, ...] = ()
    settings: tuple[FieldChange, ...] = ()
    contents: tuple[ContentChange, ...] = ()
    layout: tuple[LayoutChange, ...] = ()
    enclave: tuple[FieldChange, ...] = ()
    sigstruct: tuple[FieldChange, ...] = ()
    tools: tuple[FieldChange, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (
            self.first_page
            or self.files
            or self.settings
            or self.contents
            or self.layout
            or self.enclave
            or self.sigstruct
            or self.tools
        )
