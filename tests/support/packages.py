"""Packages for tests, around a native runtime that only looks like one; and how to damage them."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from mystikos import config as configs
from mystikos import pipeline, provenance, signature
from mystikos.config import Config
from mystikos.formats import buildrecord, descriptor, elf
from mystikos.formats.content import BytesContent
from mystikos.formats.descriptor import Descriptor, Section
from mystikos.launcher import Runtime
from mystikos.measurement import measure
from mystikos.package import Package, unpack
from mystikos.signers import PemSigner
from tests.support import elves


@functools.cache
def signer(name: str = "owner") -> PemSigner:
    """A key of a test run; another name gives another key."""
    assert name
    return PemSigner(rsa.generate_private_key(3, 3072))


@functools.cache
def runtime() -> Runtime:
    """Launcher, kernel and CRT image of the right shape."""
    return Runtime(elves.launcher(), elves.kernel(), elves.crt())


def config(**settings: object) -> Config:
    """A config of these settings (by key) around /bin/app."""
    source = {"ApplicationPath": "/bin/app", "MemorySize": "2m", "MaxThreads": 2, "ProductID": 7, **settings}
    return configs.parse(json.dumps(source).encode(), "config.json")


def appdir(root: Path, files: dict[str, bytes] | None = None, *, application: bytes | None = None) -> Path:
    """A directory with /bin/app and some more files."""
    for name, content in {"bin/app": application or elves.application(), **(files or {})}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "bin/app").chmod(0o755)
    return root


def make(directory: Path, **settings: object) -> Path:
    """A valid package."""
    source = appdir(directory / "appdir", {"etc/data": bytes(range(256)) * 40})
    output = directory / "app.package"
    pipeline.build(source, signer(), config(**settings), output, runtime=runtime())
    return output


@dataclass
class PackageForge:
    """A valid package's bytes, to change one thing in them and write the result.

    >>> PackageForge.of(path).flip(Section.ROOTFS, 17).write(tmp_path)  # doctest: +SKIP
    """

    data: bytearray
    package: Package = field(repr=False)

    @classmethod
    def of(cls, path: Path) -> PackageForge:
        """Start from a valid package."""
        return cls(bytearray(path.read_bytes()), unpack(path))

    def offset(self, section: Section, offset: int = 0) -> int:
        """Where in the file a section's byte is."""
        return self.package.sections[section].offset + offset

    def flip(self, section: Section, offset: int, bit: int = 0) -> PackageForge:
        """Flip one bit of a section."""
        self.data[self.offset(section, offset)] ^= 1 << bit
        return self

    def put(self, section: Section, offset: int, content: bytes) -> PackageForge:
        """Overwrite bytes of a section."""
        at = self.offset(section, offset)
        self.data[at : at + len(content)] = content
        return self

    def fix_descriptor(self) -> PackageForge:
        """Make the descriptor's own digest right again, as a careful attacker would."""
        place = self.package.sections[Section.ENCLAVE]
        descriptor = bytearray(self.data[place.offset : place.end])
        descriptor[96:128] = bytes(32)
        return self.put(Section.ENCLAVE, 96, hashlib.sha256(descriptor).digest())

    def sign_again(self, name: str = "attacker") -> PackageForge:
        """Measure what is there now and sign it by another key, as one could who has none of the owner's."""
        place = self.package.sections[Section.ENCLAVE]
        found = descriptor.decode(bytes(self.data[place.offset : place.end]))
        contents = {
            section: BytesContent(bytes(self.data[at.offset : at.end]))
            for section, at in self.package.sections.items()
        }
        measured = measure(found.enclave, contents)
        old = self.package.sigstruct
        signed = signature.sign(
            measured.mrenclave,
            found.enclave,
            signer(name),
            product_id=old.product_id,
            security_version=old.security_version,
        )
        self.put(
            Section.ENCLAVE,
            0,
            descriptor.encode(Descriptor(found.enclave, measured.trace, signed.pack())),
        )
        return self.fix_record(date=signed.day, marks=measured.marks)

    def fix_record(self, **changes: object) -> PackageForge:
        """Let the build record tell of what is there now, as a careful attacker would."""
        there = replace(self.package, _file=memoryview(bytes(self.data)))
        inputs = provenance.inputs_of_package(there)
        record = replace(self.package.build_record, inputs=inputs, **changes)  # type: ignore[arg-type]
        return self.put(Section.BUILD, 0, buildrecord.encode(record))

    def truncate(self, size: int) -> PackageForge:
        """Cut the file."""
        del self.data[size:]
        return self

    def section_header(self, section: Section) -> int:
        """Where in the file a section's header is."""
        header = elf.read_header(bytes(self.package.file[: elf.EHDR.size]), len(self.package.file))
        first = header.shnum - 1 - len(Section)
        return header.shoff + (first + section) * elf.SHDR.size

    def put_at(self, offset: int, content: bytes) -> PackageForge:
        """Overwrite bytes of the file."""
        self.data[offset : offset + len(content)] = content
        return self

    def write(self, directory: Path) -> Path:
        """The changed package."""
        path = directory / "forged"
        path.write_bytes(self.data)
        return path
