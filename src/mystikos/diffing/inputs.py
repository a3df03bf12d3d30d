"""Two inputs of one kind become a ``Difference``: packages, configs, or root file systems."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import cbor2

from mystikos import config as configs
from mystikos import rootfs, signature
from mystikos.config import Config
from mystikos.diffing.content import content_change, first_difference
from mystikos.diffing.files import file_changes
from mystikos.diffing.findings import ContentChange, Difference, FieldChange, FileChange
from mystikos.diffing.pages import first_page, layout_changes
from mystikos.errors import ConfigError, DiffError
from mystikos.formats import elf
from mystikos.formats.buildrecord import BuildRecordError
from mystikos.formats.descriptor import PAGE, Enclave, Section
from mystikos.formats.reading import open_regular
from mystikos.formats.sigstruct import Sigstruct
from mystikos.package import Package, unpack
from mystikos.progress import Counter, Progress
from mystikos.provenance import other_tools
from mystikos.rootfs import Entry, RootFs
from mystikos.signed_directory import executable, is_signed_directory

__all__ = ["diff", "diff_configs", "diff_packages", "diff_root_file_systems"]

_ELF, _CPIO = b"\x7fELF", b"070701"
_NAMES = {"package": "a package", "config": "a config", "rootfs": "a root file system"}


def diff(before: Path, after: Path, *, progress: Progress | None = None) -> Difference:
    """Compare two packages, two configs, or two root file systems (directories or CPIO archives)."""
    kinds = _kind(before), _kind(after)
    if kinds[0] != kinds[1]:
        raise DiffError(
            f"{before}, {after}",
            f"the first is {_NAMES[kinds[0]]}, the second {_NAMES[kinds[1]]}",
            expected="two of the same kind",
            hint="`myst extract` takes config and root file system out of a package",
        )
    if kinds[0] == "rootfs":
        return diff_root_file_systems(_load_rootfs(before), _load_rootfs(after), progress=progress)
    if kinds[0] == "config":
        return diff_configs(configs.load(before), configs.load(after))
    return diff_packages(unpack(executable(before)), unpack(executable(after)), progress=progress)


def _kind(path: Path) -> str:
    if is_signed_directory(path):
        return "package"
    if path.is_dir():
        return "rootfs"
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            start = file.read(len(_CPIO))
    except OSError as exc:
        raise DiffError(
            str(path), exc.strerror or str(exc), expected="a package, a config or an application directory"
        ) from exc
    if start.startswith(_ELF):
        return "package"
    return "rootfs" if start == _CPIO else "config"


def _load_rootfs(path: Path) -> RootFs:
    return rootfs.scan(path) if path.is_dir() else rootfs.from_archive(path)


def diff_root_file_systems(before: RootFs, after: RootFs, *, progress: Progress | None = None) -> Difference:
    """Which paths were added, removed or changed."""
    counter = Counter(progress, sum(entry.size for entry in before.entries))
    return Difference("rootfs", files=file_changes(before, after, counter=counter))


def diff_configs(before: Config, after: Config) -> Difference:
    """Which keys have other values; and whether the text differs, which is measured as it is."""
    text = content_change("config JSON", memoryview(before.source), memoryview(after.source))
    return Difference("config", settings=_settings(before, after), contents=(text,) if text else ())


def _settings(before: Config, after: Config) -> tuple[FieldChange, ...]:
    old, new = (cbor2.loads(config.record()) for config in (before, after))
    return tuple(FieldChange(key, old[key], new[key]) for key in sorted(old) if old[key] != new[key])


def diff_packages(before: Package, after: Package, *, progress: Progress | None = None) -> Difference:
    """Everything that differs between two packages, measured or not."""
    images = before.section(Section.ROOTFS), after.section(Section.ROOTFS)
    counter = Counter(progress, 2 * len(images[0]))  # the image as a whole, then its files
    parting = first_difference(*images, counter=counter)
    files = _package_files(before, after, parting, counter)
    found = Difference(
        "package",
        mrenclave_before=before.sigstruct.enclave_hash.hex(),
        mrenclave_after=after.sigstruct.enclave_hash.hex(),
        first_page=first_page(before, after, parting),
        files=files,
        settings=_package_settings(before, after),
        contents=tuple(_contents(before, after, parting is not None and not files)),
        layout=layout_changes(before, after),
        enclave=_enclave(before.enclave, after.enclave),
        sigstruct=_sigstruct(before.sigstruct, after.sigstruct),
        tools=_tools(before, after),
    )
    if found.equal:  # what is left is neither measured nor signed: headers, and the trace for diagnosis
        rest = content_change("headers or build record", before.file, after.file, measured=False)
        return replace(found, contents=(rest,) if rest else ())
    return found


def _package_files(
    before: Package, after: Package, parting: int | None, counter: Counter
) -> tuple[FileChange, ...]:
    if parting is None:
        counter.add(before.sections[Section.ROOTFS].size)
        return ()
    starts = tuple(package.sections[Section.ROOTFS].offset for package in (before, after))

    def known_equal(old: Entry, new: Entry) -> bool:
        """Both lie at one place, before the images part."""
        if old.content is None or new.content is None:
            return False
        one, other = old.content.offset - starts[0], new.content.offset - starts[1]
        return one == other and old.size == new.size and one + old.size <= parting

    return file_changes(_packaged(before), _packaged(after), known_equal, counter=counter)


def _packaged(package: Package) -> RootFs:
    place = package.sections[Section.ROOTFS]
    return rootfs.from_archive(package.path, offset=place.offset, size=place.size)


def _package_settings(before: Package, after: Package) -> tuple[FieldChange, ...]:
    """The keys of the records that the kernels read; none when one of them is no record."""
    try:
        return _settings(configs.from_record(before.record), configs.from_record(after.record))
    except ConfigError:
        return ()


_WHOLE = (
    (Section.KERNEL, "kernel"),
    (Section.CRT, "CRT image"),
    (Section.BINDINGS, "system call bindings"),
    (Section.PUBKEYS, "disk public keys"),
    (Section.ROOTHASHES, "disk root hashes"),
)


def _contents(before: Package, after: Package, with_image: bool) -> Iterator[ContentChange]:
    """The parts whose bytes differ; the root file systems' only where no file tells how they do."""
    pairs = [(name, before.section(section), after.section(section), True) for section, name in _WHOLE]
    pairs += [
        ("parameter page", _parameter_page(before), _parameter_page(after), True),
        ("config record", memoryview(before.record), memoryview(after.record), True),
        ("config JSON", memoryview(before.config_source), memoryview(after.config_source), True),
    ]
    if with_image:
        images = before.section(Section.ROOTFS), after.section(Section.ROOTFS)
        pairs.append(("root file system image", *images, True))
    pairs.append(("launcher", _launcher(before), _launcher(after), False))
    for name, old, new, measured in pairs:
        change = content_change(name, old, new, measured=measured)
        if change:
            yield change


def _parameter_page(package: Package) -> memoryview:
    return package.section(Section.CONFIG)[:PAGE]


def _launcher(package: Package) -> memoryview:
    """The launcher's bytes behind its ELF header, which speaks of the package's sections."""
    return package.file[elf.EHDR.size : package.sections[Section.KERNEL].offset]


def _enclave(before: Enclave, after: Enclave) -> tuple[FieldChange, ...]:
    """What ECREATE is told."""
    names = {
        "size": "SIZE",
        "zero_based": "zero-based",
        "attributes": "ATTRIBUTES.FLAGS",
        "xfrm": "XFRM",
        "miscselect": "MISCSELECT",
        "ssa_frame_pages": "SSAFRAMESIZE",
    }
    return _field_changes(before, after, names, hexadecimal={"size", "attributes", "xfrm", "miscselect"})


def _tools(before: Package, after: Package) -> tuple[FieldChange, ...]:
    """The versions in the build records; none when one of them is no record."""
    try:
        one, other = before.build_record, after.build_record
    except BuildRecordError:
        return ()
    return tuple(FieldChange(*change) for change in other_tools(one, other))


def _sigstruct(before: Sigstruct, after: Sigstruct) -> tuple[FieldChange, ...]:
    names = {field.name: field.name.upper() for field in fields(Sigstruct)}
    names |= {
        "attributes": "ATTRIBUTES.FLAGS",
        "attributes_mask": "ATTRIBUTEMASK.FLAGS",
        "xfrm_mask": "ATTRIBUTEMASK.XFRM",
        "enclave_hash": "MRENCLAVE",
        "product_id": "ISVPRODID",
        "security_version": "ISVSVN",
    }
    del names["modulus"]
    numbers = {"product_id", "security_version", "exponent"}
    changes = _field_changes(before, after, names, hexadecimal=set(names) - numbers)
    signers = tuple(signature.mrsigner(signed.modulus).hex() for signed in (before, after))
    return changes if signers[0] == signers[1] else (FieldChange("MRSIGNER", *signers), *changes)


def _field_changes(
    before: object, after: object, names: dict[str, str], *, hexadecimal: set[str]
) -> tuple[FieldChange, ...]:
    changes = []
    for attribute, name in names.items():
        old, new = getattr(before, attribute), getattr(after, attribute)
        if old != new:
            shown = _hexadecimal if attribute in hexadecimal else _plain
            changes.append(FieldChange(name, shown(old), shown(new)))
    return tuple(changes)


def _plain(value: object) -> object:
    return value


def _hexadecimal(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else f"{value:#x}"
