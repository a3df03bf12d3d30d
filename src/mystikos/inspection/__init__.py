"""What a package, a root file system or the kernel is made of, as plain facts for people and programs.

Nothing is judged here (``verification`` does that) and nothing is printed (``cli.inspect`` does)::

    facts = inspect_package(unpack(Path("app")))
    facts.identity.mrenclave, facts.enclave.epc_pages, facts.code.bound, facts.code.trapped
"""

from __future__ import annotations

import os
from pathlib import Path

from mystikos import rootfs
from mystikos.binding import elf_files
from mystikos.formats.descriptor import PAGE, Section
from mystikos.formats.reading import open_regular
from mystikos.inspection.calls import SyscallFacts, syscalls
from mystikos.inspection.code import code_facts
from mystikos.inspection.enclave import enclave_facts
from mystikos.inspection.facts import (
    BuildFacts,
    CallSite,
    CauseFacts,
    CodeFacts,
    ConfigFacts,
    EnclaveFacts,
    FileCode,
    FileFacts,
    IdentityFacts,
    IllegalSite,
    ImageFacts,
    PackageFacts,
    RegionFacts,
    RootFsFacts,
    SectionFacts,
    SettingFacts,
    TreeFacts,
)
from mystikos.inspection.files import rootfs_facts
from mystikos.inspection.identity import (
    application,
    build_facts,
    config_facts,
    identity_facts,
    image_facts,
    section_facts,
)
from mystikos.launcher import Runtime
from mystikos.package import Package, unpack
from mystikos.parts import root_file_system
from mystikos.progress import Counter, Progress
from mystikos.signed_directory import executable, is_signed_directory

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
    "SyscallFacts",
    "TreeFacts",
    "epc_bytes",
    "inspect_package",
    "inspect_path",
    "inspect_rootfs",
    "syscalls",
]

_CPIO_MAGIC = b"070701"


def inspect_path(path: Path, *, progress: Progress | None = None) -> PackageFacts | TreeFacts:
    """The facts of a package, a signed directory, or a root file system (a directory or a CPIO archive)."""
    if is_signed_directory(path):
        return inspect_package(unpack(executable(path)), progress=progress)
    if path.is_dir():
        return inspect_rootfs(rootfs.scan(path), progress=progress)
    if _starts_with(path, _CPIO_MAGIC):
        return inspect_rootfs(rootfs.from_archive(path), progress=progress)
    return inspect_package(unpack(path), progress=progress)


def inspect_package(
    package: Package, *, runtime: Runtime | None = None, progress: Progress | None = None
) -> PackageFacts:
    """The facts of an unpacked package; its files are searched for system calls again.

    Launcher, kernel and CRT image are compared with those of ``runtime``, by default the installed ones.
    """
    tree = _tree(root_file_system(package), bytes(package.section(Section.BINDINGS)), progress)
    return PackageFacts(
        application=application(package),
        identity=identity_facts(package),
        build=build_facts(package),
        config=config_facts(package),
        enclave=enclave_facts(package),
        file_size=len(package.file),
        sections=section_facts(package),
        images=image_facts(package, runtime),
        rootfs=tree.rootfs,
        code=tree.code,
    )


def inspect_rootfs(root: rootfs.RootFs, *, progress: Progress | None = None) -> TreeFacts:
    """The facts of a root file system, as packaging it would bind its system calls."""
    return _tree(root, None, progress)


def _tree(root: rootfs.RootFs, table: bytes | None, progress: Progress | None) -> TreeFacts:
    programs = tuple(elf_files(root))
    sizes = sum(entry.size for entry in root.entries if entry.is_file and entry.has_data)
    counter = Counter(progress, sizes + sum(entry.size for entry in programs))
    return TreeFacts(rootfs_facts(root, counter.add), code_facts(programs, table, counter.add))


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False  # unpack tells what is wrong


def epc_bytes(facts: PackageFacts) -> int:
    """How much protected memory the enclave's own pages take."""
    return facts.enclave.epc_pages * PAGE
