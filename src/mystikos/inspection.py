"""What a package, a root file system or the kernel is made of, as plain facts for people and programs.

Nothing is judged here (``verification`` does that) and nothing is printed (``cli.inspect`` does)::

    facts = inspect_package(unpack(Path("app")))
    facts.mrenclave, facts.bindings.bound, facts.bindings.trapped
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mystikos import binding, config, rootfs, signature
from mystikos.binding import Bindings, FileBinding
from mystikos.binding.table import Site, decode
from mystikos.errors import MystError, RuntimeMissingError
from mystikos.formats.descriptor import PAGE, Kind, Section
from mystikos.package import Package, unpack
from mystikos.signed_directory import executable, is_signed_directory

__all__ = [
    "BindingFacts",
    "CallSite",
    "FileFacts",
    "PackageFacts",
    "RegionFacts",
    "SyscallFacts",
    "inspect_package",
    "inspect_path",
    "inspect_rootfs",
    "syscalls",
]

_SYSCALLS = Path(__file__).with_name("_syscalls.json")
_CPIO_MAGIC = b"070701"
_NOT_IN_TABLE = "not in this package's table, which another version of mystikos wrote"


@dataclass(frozen=True)
class CallSite:
    """One ``syscall`` instruction: its file offset, and the displaced bytes or why it traps."""

    offset: int
    bound: bool
    before: str = ""  # hexadecimal, as are all bytes here
    after: str = ""
    reason: str | None = None


@dataclass(frozen=True)
class FileFacts:
    """The system calls of one ELF file."""

    path: bytes
    bound: int
    trapped: int
    reasons: Mapping[str, int]  # why some trap, and how many
    problem: str | None  # why a malformed file was left alone altogether
    sites: tuple[CallSite, ...]


@dataclass(frozen=True)
class BindingFacts:
    """The system calls of all ELF files."""

    bound: int
    trapped: int
    table_size: int
    files: tuple[FileFacts, ...]


@dataclass(frozen=True)
class RegionFacts:
    """All of an enclave's regions of one kind."""

    kind: str
    regions: int
    pages: int  # of EPC
    measured: bool


@dataclass(frozen=True)
class PackageFacts:
    """What a package says it is; whether that is true, ``verification`` tells."""

    mrenclave: str
    mrsigner: str
    product_id: int
    security_version: int
    debug: bool
    date: str
    attributes: str
    xfrm: str
    miscselect: str
    application: bytes | None  # None when the config cannot be read
    zero_based: bool
    enclave_size: int
    epc_pages: int
    threads: int
    file_size: int
    sections: Mapping[str, int]
    regions: tuple[RegionFacts, ...]
    bindings: BindingFacts


@dataclass(frozen=True)
class SyscallFacts:
    """One system call that the kernel knows."""

    number: int
    name: str
    support: str
    note: str


def inspect_path(path: Path) -> PackageFacts | BindingFacts:
    """The facts of a package, or of a root file system: a directory or a CPIO archive."""
    if is_signed_directory(path):
        return inspect_package(unpack(executable(path)))
    if path.is_dir():
        return inspect_rootfs(rootfs.scan(path))
    if _starts_with(path, _CPIO_MAGIC):
        return inspect_rootfs(rootfs.from_archive(path))
    return inspect_package(unpack(path))


def inspect_package(package: Package) -> PackageFacts:
    """The facts of an unpacked package; its files are searched for system calls again."""
    signed, enclave = package.sigstruct, package.enclave
    place = package.sections[Section.ROOTFS]
    found = binding.bind(rootfs.from_archive(package.path, offset=place.offset, size=place.size))
    date = f"{signed.date:08x}"

    return PackageFacts(
        mrenclave=signed.enclave_hash.hex(),
        mrsigner=signature.mrsigner(signed.modulus).hex(),
        product_id=signed.product_id,
        security_version=signed.security_version,
        debug=enclave.debug,
        date=f"{date[:4]}-{date[4:6]}-{date[6:]}",
        attributes=f"{signed.attributes:#x}",
        xfrm=f"{signed.xfrm:#x}",
        miscselect=f"{signed.miscselect:#x}",
        application=_application(package),
        zero_based=enclave.zero_based,
        enclave_size=enclave.size,
        epc_pages=sum(region.pages for region in enclave.regions),
        threads=len(enclave.of_kind(Kind.TCS)),
        file_size=package.path.stat().st_size,
        sections={section.elf_name: place.size for section, place in package.sections.items()},
        regions=_regions(package),
        bindings=_bindings(found, bytes(package.section(Section.BINDINGS))),
    )


def inspect_rootfs(root: rootfs.RootFs) -> BindingFacts:
    """The system calls of a root file system, as packaging it would bind them."""
    found = binding.bind(root)
    return _bindings(found, found.table)


def syscalls(path: Path = _SYSCALLS) -> tuple[SyscallFacts, ...]:
    """The kernel's system call table, ascending by number; it is written when the kernel is built."""
    try:
        entries = json.loads(path.read_bytes())
        facts = [SyscallFacts(e["number"], e["name"], e["support"], e["note"]) for e in entries]
    except OSError as exc:
        raise RuntimeMissingError(
            str(path),
            exc.strerror or str(exc),
            expected="the system call table of the built kernel",
            hint="build it (make docs), or install mystikos from a wheel",
        ) from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise RuntimeMissingError(
            str(path), f"not a system call table ({exc})", hint="run make docs"
        ) from exc
    return tuple(sorted(facts, key=lambda fact: fact.number))


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False  # unpack tells what is wrong


def _application(package: Package) -> bytes | None:
    try:
        return config.parse(package.config_source, ".mystconfig").application_path
    except MystError:
        return None


def _regions(package: Package) -> tuple[RegionFacts, ...]:
    facts = []
    for kind in Kind:
        regions = package.enclave.of_kind(kind)
        if regions:
            pages = sum(region.pages for region in regions)
            facts.append(RegionFacts(kind.name, len(regions), pages, any(r.measured for r in regions)))
    return tuple(facts)


def _bindings(found: Bindings, table: bytes) -> BindingFacts:
    """The facts as the table has them: what it does not list traps, whatever this version would do."""
    listed = {record.data_offset: record.sites for record in decode(table)}
    files = tuple(_file(file, listed.get(file.data_offset, ())) for file in found.files)
    bound, trapped = sum(f.bound for f in files), sum(f.trapped for f in files)
    return BindingFacts(bound, trapped, len(table), files)


def _file(file: FileBinding, listed: tuple[Site, ...]) -> FileFacts:
    bound = {site.syscall_offset for site in listed}
    trapped = {trap.offset: trap.reason.value for trap in file.traps if trap.offset not in bound}
    for site in file.sites:
        if site.syscall_offset not in bound:
            trapped[site.syscall_offset] = _NOT_IN_TABLE

    sites = [CallSite(s.syscall_offset, True, s.before.hex(), s.after.hex()) for s in listed]
    sites += [CallSite(offset, False, reason=reason) for offset, reason in trapped.items()]
    return FileFacts(
        path=file.path,
        bound=len(bound),
        trapped=len(trapped),
        reasons=dict(Counter(trapped.values()).most_common()),
        problem=file.problem,
        sites=tuple(sorted(sites, key=lambda site: site.offset)),
    )


def epc_bytes(facts: PackageFacts) -> int:
    """How much protected memory the enclave takes."""
    return facts.epc_pages * PAGE
