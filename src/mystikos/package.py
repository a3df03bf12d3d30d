"""Stage 6: one ELF file from launcher, layout, measurement and signature; and back again.

A package is written in one pass and in bounded memory: the root file system goes into the file while it is
being measured, whatever depends on its bytes comes after it::

    writer = PackageWriter(file, launcher)
    measurement = measure(layout.enclave, writer.contents(layout.contents))
    writer.finish(layout.enclave, measurement, sigstruct, record)

:func:`unpack` trusts nothing in the file it is given. The format is docs/reference/package-format.md.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mystikos import _abi
from mystikos.errors import PackageError, RuntimeMissingError
from mystikos.formats import buildrecord, elf, sigstruct
from mystikos.formats import descriptor as descriptor_format
from mystikos.formats import parameters as parameters_format
from mystikos.formats.buildrecord import BuildRecord
from mystikos.formats.content import BytesContent
from mystikos.formats.descriptor import PAGE, Descriptor, DescriptorError, Enclave, Section, page_count
from mystikos.formats.parameters import Parameters, ParametersError, Place
from mystikos.formats.reading import open_regular
from mystikos.formats.sigstruct import Sigstruct, SigstructError

if TYPE_CHECKING:
    from mystikos.formats.content import Content
    from mystikos.measurement import Measurement

__all__ = ["Package", "PackageWriter", "is_damaged", "launcher_digest", "unpack"]

_SHSTRTAB = b".shstrtab"
_MAX_SECTION_HEADERS = 256  # as many as the launcher reads


class PackageWriter:
    """Writes a package to ``file`` from its start to its end; only the ELF header is written twice."""

    def __init__(self, file: BinaryIO, launcher: bytes) -> None:
        self._file = file
        self._launcher = _Launcher.parse(launcher)
        self._placed: dict[Section, Place] = {}
        file.write(launcher)
        self._position = len(launcher)

    def contents(self, contents: Mapping[Section, Content]) -> Mapping[Section, Content]:
        """Write the sections in file order; what is streamed is written later, while it is read.

        Only the last one may be a stream (it is the root file system); the result is to be read instead of
        the argument, and a stream wholly and once.
        """
        return {section: self._add(section, contents[section]) for section in sorted(contents)}

    def _add(self, section: Section, content: Content) -> Content:
        self._pad(PAGE)
        self._placed[section] = Place(self._position, content.size)
        if isinstance(content, BytesContent):
            self._write(content.data)
            return content
        return _Tee(content, self)

    def write_stream(self, chunk: bytes | memoryview) -> None:
        """Append a chunk of the streamed section."""
        self._write(chunk)

    def finish(
        self, enclave: Enclave, measurement: Measurement, signature: Sigstruct, record: BuildRecord
    ) -> None:
        """Write descriptor, build record and section headers, and point the ELF header at these."""
        section, place = max(self._placed.items())
        if place.end != self._position:
            written = self._position - place.offset
            raise PackageError(section.elf_name, f"{written} bytes were written", expected=f"{place.size}")
        packed = descriptor_format.encode(Descriptor(enclave, measurement.trace, signature.pack()))
        self._add(Section.ENCLAVE, BytesContent(packed))
        self._add(Section.BUILD, BytesContent(buildrecord.encode(record)))

        strings, headers = self._launcher.section_table(self._placed, self._position)
        self._write(strings)
        self._pad(8)
        shoff = self._position
        self._write(b"".join(header.pack() for header in headers))

        self._file.seek(0)
        header = replace(
            self._launcher.header,
            shoff=shoff,
            shnum=len(headers),
            shstrndx=len(headers) - 1,
            shentsize=elf.SHDR.size,
        )
        self._file.write(header.pack())

    def _write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._position += len(data)

    def _pad(self, alignment: int) -> None:
        self._write(bytes(-self._position % alignment))


@dataclass(frozen=True)
class _Tee:
    """A stream that is written to the package while it is read."""

    content: Content
    writer: PackageWriter

    @property
    def size(self) -> int:
        return self.content.size

    def chunks(self) -> Iterator[memoryview]:
        for chunk in self.content.chunks():
            self.writer.write_stream(chunk)
            yield memoryview(chunk)


@dataclass(frozen=True)
class _Launcher:
    """The launcher's ELF header and its own section headers, which stay in the package for debuggers."""

    header: elf.Header
    sections: tuple[elf.SectionHeader, ...]
    strings: bytes

    @classmethod
    def parse(cls, data: bytes) -> _Launcher:
        try:
            image = elf.read_image_bytes(data)
            sections = elf.read_sections(lambda offset, size: data[offset : offset + size], image.header)
        except elf.ElfError as exc:
            raise _broken_launcher(str(exc)) from exc
        if image.has_interpreter:
            raise _broken_launcher("it is not static")

        index = image.header.shstrndx
        if not sections or index >= len(sections):
            return cls(image.header, (), b"\0")
        table = sections[index]
        kept = tuple(section for number, section in enumerate(sections) if number != index)
        if any(section.link >= index for section in kept):
            raise _broken_launcher("its section name table is not its last section")
        return cls(image.header, kept, data[table.offset : table.file_end])

    def section_table(
        self, placed: Mapping[Section, Place], strings_at: int
    ) -> tuple[bytes, list[elf.SectionHeader]]:
        """The name table, to stand at ``strings_at``, and all section headers, the name table's own last."""
        strings = bytearray(self.strings)
        headers = list(self.sections) or [elf.SectionHeader(*[0] * 10)]
        for section, place in placed.items():
            headers.append(_section_header(len(strings), place))
            strings += section.elf_name.encode() + b"\0"
        name = len(strings)
        strings += _SHSTRTAB + b"\0"
        headers.append(elf.SectionHeader(name, elf.SHT_STRTAB, 0, 0, strings_at, len(strings), 0, 0, 1, 0))
        return bytes(strings), headers


def _section_header(name: int, place: Place) -> elf.SectionHeader:
    return elf.SectionHeader(name, elf.SHT_PROGBITS, 0, 0, place.offset, place.size, 0, 0, PAGE, 0)


def _broken_launcher(found: str) -> RuntimeMissingError:
    return RuntimeMissingError(
        "myst-launcher", found, hint="the native runtime is damaged: build it again or reinstall mystikos"
    )


@dataclass(frozen=True)
class Package:
    """An unpacked package: well-formed, but neither measured nor its signature checked.

    Section contents are views into the mapped file.
    """

    path: Path
    sections: Mapping[Section, Place]
    enclave: Enclave
    trace: tuple[bytes, ...]
    sigstruct: Sigstruct
    parameters: Parameters
    _file: memoryview = field(repr=False)

    @property
    def contents(self) -> Mapping[Section, BytesContent]:
        """Every section's bytes."""
        return {section: BytesContent(self.section(section)) for section in self.sections}

    @property
    def file(self) -> memoryview:
        """All bytes of the file."""
        return self._file

    def section(self, section: Section) -> memoryview:
        """One section's bytes."""
        place = self.sections[section]
        return self._file[place.offset : place.end]

    @property
    def launcher(self) -> memoryview:
        """The launcher, with the ELF header that speaks of the package's sections, and padded to a page."""
        return self._file[: self.sections[Section.KERNEL].offset]

    @property
    def build_record(self) -> BuildRecord:
        """What the package says about how it was made; BuildRecordError when that is malformed."""
        return buildrecord.decode(bytes(self.section(Section.BUILD)[: buildrecord.LARGEST + 1]))

    @property
    def record(self) -> bytes:
        """The canonical config record: what the kernel reads."""
        return self._part(self.parameters.record)

    @property
    def config_source(self) -> bytes:
        """The config's JSON as its author wrote it."""
        return self._part(self.parameters.json)

    def _part(self, place: Place) -> bytes:
        return bytes(self.section(Section.CONFIG)[place.offset : place.end])


def unpack(path: Path) -> Package:
    """Map a package and check that all of it is well-formed; ``PackageError`` tells what is not."""
    data = _map(path)
    try:
        sections = _sections(data)
        found = {section: data[place.offset : place.end] for section, place in sections.items()}
        decoded = descriptor_format.decode(bytes(found[Section.ENCLAVE]))
        _check_slices(decoded.enclave, sections)
        _check_all_is_loaded(decoded.enclave, found)
        parameters = parameters_format.decode(bytes(found[Section.CONFIG][:PAGE]))
        _check_config_parts(parameters, sections[Section.CONFIG].size)
        signature = sigstruct.unpack(decoded.sigstruct)
    except elf.ElfError as exc:
        raise _not_a_package(path, str(exc)) from exc
    except DescriptorError as exc:
        raise _not_a_package(path, f".mystenc: {exc}") from exc
    except SigstructError as exc:
        raise _not_a_package(path, f".mystenc: SIGSTRUCT: {exc}") from exc
    except ParametersError as exc:
        raise _not_a_package(path, f".mystconfig: {exc}") from exc
    return Package(path, sections, decoded.enclave, decoded.trace, signature, parameters, data)


def launcher_digest(launcher: memoryview) -> bytes:
    """SHA-256 that tells launchers apart, in a package or alone: without what a package changes in them.

    These are the ELF header's fields about sections, and the padding to the next page.
    """
    header = elf.Header(*elf.EHDR.unpack_from(launcher))
    header = replace(header, shoff=0, shnum=0, shstrndx=0, shentsize=0)
    digest = hashlib.sha256(header.pack())
    digest.update(launcher[elf.EHDR.size :])
    digest.update(bytes(-len(launcher) % PAGE))
    return digest.digest()


_MARKS = (_abi.PARAMETERS_MAGIC, _abi.DESCRIPTOR_MAGIC, Section.ENCLAVE.elf_name.encode() + b"\0")


def is_damaged(path: Path) -> bool:
    """Whether a file that :func:`unpack` refuses was a package, by what still stands in it."""
    try:
        with (
            os.fdopen(open_regular(path), "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return data[:4] == elf.MAGIC and any(data.find(mark) >= 0 for mark in _MARKS)
    except (OSError, ValueError):
        return False


def _not_a_package(path: Path, found: str) -> PackageError:
    return PackageError(
        str(path),
        found,
        expected="a file that myst package-sgx wrote",
        hint="the file is damaged, or not a package: make it or copy it again",
    )


def _map(path: Path) -> memoryview:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as exc:
        raise PackageError(str(path), exc.strerror or str(exc), expected="a readable package file") from exc
    except ValueError as exc:  # mmap of an empty file
        raise _not_a_package(path, "an empty file") from exc


def _sections(data: memoryview) -> dict[Section, Place]:
    """Find the nine sections: each there once, in order, page-aligned, apart, and nothing beside them."""

    def read(offset: int, size: int) -> bytes:
        return bytes(data[offset : offset + size])

    image = elf.read_image(read, len(data))
    header = image.header
    if not 0 < header.shnum <= _MAX_SECTION_HEADERS:
        raise elf.ElfError(f"{header.shnum} section headers")
    headers = elf.read_sections(read, header)
    if header.shstrndx != len(headers) - 1 or headers[-1].type != elf.SHT_STRTAB:
        raise elf.ElfError("the section name table is not the last section")

    strings = read(headers[-1].offset, headers[-1].size)
    named = [(elf.section_name(strings, one.name), one) for one in headers]
    wanted = {section.elf_name.encode(): section for section in Section}
    places: dict[Section, Place] = {}
    for name, one in named:
        section = wanted.get(name)
        if section is None:
            continue
        if section in places:
            raise elf.ElfError(f"two sections {section.elf_name}")
        places[section] = Place(one.offset, one.size)
        if one != _section_header(one.name, places[section]):
            raise elf.ElfError(f"section {section.elf_name} is not plain, non-allocated data")
    missing = [section.elf_name for section in Section if section not in places]
    if missing:
        raise elf.ElfError(f"no section {', '.join(missing)}")

    if not image.segments:
        raise elf.ElfError("no program headers")
    launcher_end = max(segment.offset + segment.filesz for segment in image.segments)
    _check_places(data, places, launcher_end, headers[-1].offset)
    _check_tail(data, header, headers[-1])
    if any(one.type != elf.SHT_NOBITS and one.file_end > len(data) for one in headers):
        raise elf.ElfError("a section of the launcher reaches beyond the file's end")
    return dict(sorted(places.items()))


def _check_places(data: memoryview, places: Mapping[Section, Place], start: int, end: int) -> None:
    """The sections follow each other on page boundaries between launcher and name table; gaps are zero."""
    for section in Section:
        place = places[section]
        if place.offset % PAGE or place.offset < start:
            raise elf.ElfError(f"section {section.elf_name} at {place.offset:#x} is not where it belongs")
        if section > Section.KERNEL and (
            place.offset != page_count(start) * PAGE or any(data[start : place.offset])
        ):
            raise elf.ElfError(f"bytes between {start:#x} and section {section.elf_name}")
        if place.end > len(data):
            raise elf.ElfError(
                f"section {section.elf_name} reaches beyond the file's end: the file is cut short"
            )
        start = place.end
    if start != end:
        raise elf.ElfError("bytes between the sections and their name table")


def _check_tail(data: memoryview, header: elf.Header, strings: elf.SectionHeader) -> None:
    table_end = header.shoff + header.shnum * elf.SHDR.size
    gap = data[strings.file_end : header.shoff]
    if not 0 <= header.shoff - strings.file_end < 8 or any(gap) or table_end != len(data):
        raise elf.ElfError("the section headers are not the file's last bytes")


def _check_slices(enclave: Enclave, sections: Mapping[Section, Place]) -> None:
    for region in enclave.regions:
        source = region.source
        if isinstance(source, descriptor_format.Slice):
            size = sections[source.section].size
            if source.offset + source.size > size:
                raise DescriptorError(
                    f"region {region.kind.name} at {region.offset:#x} takes bytes beyond the {size} "
                    f"of {source.section.elf_name}"
                )


def _check_all_is_loaded(enclave: Enclave, found: Mapping[Section, memoryview]) -> None:
    """Every byte of a section is measured, or zero between the kernel's segments.

    None is measured twice, but for a page that two of these segments share: so measuring costs no more than
    the file is large, whatever the region records say.
    """
    taken: dict[Section, list[tuple[int, int]]] = {section: [] for section in found}
    for region in enclave.regions:
        if isinstance(region.source, descriptor_format.Slice):
            taken[region.source.section].append((region.source.offset, region.source.size))

    for section, data in found.items():
        end = 0
        for start, size in [*taken[section], (len(data), 0)]:
            if start < end // PAGE * PAGE:
                raise DescriptorError(
                    f"{section.elf_name} has bytes from {start:#x} on that are loaded twice"
                )
            if section < Section.ENCLAVE and not _is_zero(data[end:start]):
                raise DescriptorError(f"{section.elf_name} has bytes before {start:#x} that are not measured")
            end = start + size


def _is_zero(data: memoryview) -> bool:
    pieces = (bytes(data[at : at + PAGE * 256]) for at in range(0, len(data), PAGE * 256))
    return all(piece.count(0) == len(piece) for piece in pieces)


def _check_config_parts(parameters: Parameters, size: int) -> None:
    record, source = parameters.record, parameters.json
    if (record.offset, source.offset, source.end) != (PAGE, record.end, size):
        raise ParametersError("record and JSON do not fill the section in their order")
