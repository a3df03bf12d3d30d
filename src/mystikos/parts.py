"""Stage 6, backwards: the parts of a package as files for other tools.

A package is believed in nothing: what is written is what its sections hold, under names of ours, and the
root file system goes through ``extraction``. Whether the package is genuine, ``verification`` tells::

    done = extract(unpack(Path("app")), Path("parts"))
    [path.name for path in done.files]
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from mystikos import extraction
from mystikos.errors import PackageError
from mystikos.formats.atomic import atomic_directory, output_error
from mystikos.formats.descriptor import Section
from mystikos.formats.sigstruct import EXPONENT, KEY_SIZE, Sigstruct
from mystikos.package import Package
from mystikos.progress import Progress
from mystikos.rootfs import RootFs, from_archive

__all__ = ["PARTS", "Parts", "extract", "public_key", "root_file_system"]

PARTS = ("rootfs", "config", "kernel", "crt", "sigstruct", "descriptor", "build")
"""What can be extracted."""

_ROOTFS, _ARCHIVE = "rootfs", "rootfs.cpio"
_Bytes = bytes | memoryview
_FILES: dict[str, tuple[tuple[str, Callable[[Package], _Bytes]], ...]] = {
    "config": (
        ("config.json", lambda package: package.config_source),
        ("config.cbor", lambda package: package.record),
    ),
    "kernel": (("libmystkernel", lambda package: package.section(Section.KERNEL)),),
    "crt": (("libmystcrt.so", lambda package: package.section(Section.CRT)),),
    "sigstruct": (
        ("sigstruct.bin", lambda package: package.sigstruct.pack()),
        ("signer.pem", lambda package: public_key(package.sigstruct, str(package.path))),
    ),
    "descriptor": (("descriptor.bin", lambda package: package.section(Section.ENCLAVE)),),
    "build": (("build.json", lambda package: package.section(Section.BUILD)),),
}


@dataclass(frozen=True)
class Parts:
    """The files and directories that were written, and files in them whose set-id bits were left out."""

    files: tuple[Path, ...]
    without_set_id: tuple[bytes, ...]


def extract(
    package: Package,
    directory: Path,
    *,
    only: Collection[str] = PARTS,
    archive: bool = False,
    keep_set_id: bool = False,
    progress: Progress | None = None,
) -> Parts:
    """Write the parts named in ``only`` into ``directory``, which must be absent or empty.

    The root file system becomes the directory ``rootfs``, or with ``archive`` the file ``rootfs.cpio``,
    byte by byte as it is measured. A failure leaves nothing behind.
    """
    unknown = sorted(set(only) - set(PARTS))
    if unknown:
        raise ValueError(f"no part {', '.join(unknown)}: there are {', '.join(PARTS)}")

    wanted = [file for part in PARTS if part in only for file in _FILES.get(part, ())]
    written = [name for name, _ in wanted]
    dropped: tuple[bytes, ...] = ()
    with atomic_directory(directory) as temporary:
        if "rootfs" in only and archive:
            wanted.insert(0, (_ARCHIVE, lambda package: package.section(Section.ROOTFS)))
            written.insert(0, _ARCHIVE)
            root_file_system(package)  # a hostile archive is refused as a whole, as it is for a directory
        elif "rootfs" in only:
            dropped = _write_tree(root_file_system(package), temporary, directory, keep_set_id, progress)
            written.insert(0, _ROOTFS)
        _write(package, wanted, temporary, directory)
    return Parts(tuple(directory / name for name in written), dropped)


def _write_tree(
    rootfs: RootFs, temporary: Path, shown: Path, keep_set_id: bool, progress: Progress | None
) -> tuple[bytes, ...]:
    try:
        (temporary / _ROOTFS).mkdir()
    except OSError as error:
        raise output_error(shown / _ROOTFS, error) from error
    done = extraction.fill(
        rootfs, temporary / _ROOTFS, shown=shown / _ROOTFS, keep_set_id=keep_set_id, progress=progress
    )
    return done.without_set_id


def _write(
    package: Package, files: Iterable[tuple[str, Callable[[Package], _Bytes]]], temporary: Path, shown: Path
) -> None:
    for name, content in files:
        data = content(package)
        try:
            with (temporary / name).open("xb") as file:
                file.write(data)
        except OSError as error:
            raise output_error(shown / name, error) from error


def root_file_system(package: Package) -> RootFs:
    """The root file system in a package; ``RootFsError`` when it is none."""
    place = package.sections[Section.ROOTFS]
    return from_archive(package.path, offset=place.offset, size=place.size)


def public_key(sigstruct: Sigstruct, where: str) -> bytes:
    """The signer's public key as PEM (SubjectPublicKeyInfo); ``where`` is for the error."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    modulus, exponent = sigstruct.modulus, sigstruct.exponent
    if exponent != EXPONENT or modulus.bit_length() != KEY_SIZE * 8 or modulus % 2 == 0:
        raise PackageError(
            where,
            f"SIGSTRUCT names no RSA key ({modulus.bit_length()} bits, exponent {exponent})",
            expected=f"an odd modulus of {KEY_SIZE * 8} bits and exponent {EXPONENT}",
            hint="--only takes the other parts out",
        )
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
