"""The facts themselves: plain values, digests and codes in hexadecimal.

Names of files are bytes; everything else that comes out of a package is told as it was found there, and is as
hostile as the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "BuildFacts",
    "CallSite",
    "CauseFacts",
    "CodeFacts",
    "ConfigFacts",
    "EnclaveFacts",
    "FileCode",
    "FileFacts",
    "IdentityFacts",
    "IllegalSite",
    "ImageFacts",
    "PackageFacts",
    "RegionFacts",
    "RootFsFacts",
    "SectionFacts",
    "SettingFacts",
    "TreeFacts",
]


@dataclass(frozen=True)
class CallSite:
    """One ``syscall`` instruction: its file offset, and the displaced bytes or why it traps."""

    offset: int
    bound: bool
    before: str = ""
    after: str = ""
    reason: str | None = None


@dataclass(frozen=True)
class IllegalSite:
    """One other instruction that an enclave cannot execute: its file offset, name, bytes and what it does.

    Where it is not ``listed``, it lies between the functions that the file lists, and may be data.
    """

    offset: int
    name: str
    code: str
    effect: str
    listed: bool


@dataclass(frozen=True)
class FileCode:
    """The instructions of one ELF file that are not simply executed."""

    path: bytes
    bound: int
    trapped: int
    reasons: Mapping[str, int]  # why some trap, and how many
    problem: str | None  # why a malformed file was left alone altogether
    illegal: Mapping[str, int]  # by name, and how many
    unreadable: int  # bytes of its code that are no instructions
    sites: tuple[CallSite, ...]
    illegal_sites: tuple[IllegalSite, ...]


@dataclass(frozen=True)
class CodeFacts:
    """The system calls of all ELF files, and the instructions that an enclave cannot execute."""

    bound: int
    trapped: int
    table_size: int
    illegal: Mapping[str, int]
    files: tuple[FileCode, ...]


@dataclass(frozen=True)
class FileFacts:
    """One entry of the root file system.

    ``kind`` is "file", "directory" or "symlink"; ``mode`` the permission bits in octal; ``linked_to`` the
    first of the ``links`` hard links of one file; ``pages`` what it adds to the enclave.
    """

    path: bytes
    kind: str
    mode: str
    size: int
    sha256: str | None
    target: bytes | None
    linked_to: bytes | None
    links: int
    pages: int


@dataclass(frozen=True)
class RootFsFacts:
    """The root file system: size of its image, and every entry in it."""

    size: int
    files: tuple[FileFacts, ...]


@dataclass(frozen=True)
class TreeFacts:
    """What a directory or an archive is made of."""

    rootfs: RootFsFacts
    code: CodeFacts


@dataclass(frozen=True)
class IdentityFacts:
    """What SIGSTRUCT says. ``published_key`` tells where a signer's private key can be read by everybody."""

    mrenclave: str
    mrsigner: str
    published_key: str | None
    product_id: int
    security_version: int
    debug: bool
    date: str
    vendor: str
    attributes: str
    attributes_mask: str
    xfrm: str
    xfrm_mask: str
    miscselect: str
    miscmask: str


@dataclass(frozen=True)
class BuildFacts:
    """What the package says it was made with: versions of mystikos and of what decides about bytes."""

    mystikos: str
    tools: Mapping[str, str]


@dataclass(frozen=True)
class SettingFacts:
    """One key of the config as the kernel reads it; ``given`` is None when the JSON cannot be read."""

    key: str
    value: object
    default: bool
    given: bool | None


@dataclass(frozen=True)
class ConfigFacts:
    """All keys; or what is wrong with the record that holds them."""

    problem: str | None
    settings: tuple[SettingFacts, ...]


@dataclass(frozen=True)
class RegionFacts:
    """Regions that are alike: ``count`` of them, ``pages`` each, the first at ``offset``, ``stride`` apart.

    ``content`` is the section that they take their bytes from, or "TCS" or "zeros".
    """

    kind: str
    offset: int
    count: int
    stride: int
    pages: int
    rights: str
    measured: bool
    content: str


@dataclass(frozen=True)
class CauseFacts:
    """Pages of protected memory (EPC), and why they are needed."""

    cause: str
    pages: int
    because: str


@dataclass(frozen=True)
class EnclaveFacts:
    """The enclave's address space and its protected memory.

    ``epc_pages`` are its own pages; ``overhead_pages`` those that processor and Linux need for it besides.
    """

    size: int
    zero_based: bool
    threads: int
    ssa_frame_pages: int
    epc_pages: int
    overhead_pages: int
    causes: tuple[CauseFacts, ...]
    regions: tuple[RegionFacts, ...]


@dataclass(frozen=True)
class ImageFacts:
    """Launcher, kernel or CRT image; whether it is that of the installed mystikos, None if none is built."""

    name: str
    size: int
    sha256: str
    installed: bool | None


@dataclass(frozen=True)
class SectionFacts:
    """One section of the file; its digest."""

    name: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True)
class PackageFacts:
    """What a package says it is, and what is in it; whether that is true, ``verification`` tells."""

    application: bytes | None  # None when the config cannot be read
    identity: IdentityFacts
    build: BuildFacts | None  # None when the build record cannot be read
    config: ConfigFacts
    enclave: EnclaveFacts
    file_size: int
    sections: tuple[SectionFacts, ...]
    images: tuple[ImageFacts, ...]
    rootfs: RootFsFacts
    code: CodeFacts
