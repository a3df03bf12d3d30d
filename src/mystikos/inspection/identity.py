"""The facts about a package as a whole: who it says it is, its config, its sections, its native code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from mystikos import config as configs
from mystikos import signature
from mystikos.config import Config
from mystikos.errors import ConfigError, RuntimeMissingError
from mystikos.formats.buildrecord import BuildRecordError
from mystikos.formats.descriptor import Section
from mystikos.inspection.facts import (
    BuildFacts,
    ConfigFacts,
    IdentityFacts,
    ImageFacts,
    SectionFacts,
    SettingFacts,
)
from mystikos.launcher import Runtime
from mystikos.package import Package
from mystikos.provenance import images_of_package, images_of_runtime
from mystikos.signers import PUBLISHED_KEYS


def identity_facts(package: Package) -> IdentityFacts:
    """What SIGSTRUCT says."""
    signed = package.sigstruct
    signer = signature.mrsigner(signed.modulus).hex()
    return IdentityFacts(
        mrenclave=signed.enclave_hash.hex(),
        mrsigner=signer,
        published_key=PUBLISHED_KEYS.get(signer),
        product_id=signed.product_id,
        security_version=signed.security_version,
        debug=package.enclave.debug,
        date=signed.day,
        vendor=f"{signed.vendor:#x}",
        attributes=f"{signed.attributes:#x}",
        attributes_mask=f"{signed.attributes_mask:#x}",
        xfrm=f"{signed.xfrm:#x}",
        xfrm_mask=f"{signed.xfrm_mask:#x}",
        miscselect=f"{signed.miscselect:#x}",
        miscmask=f"{signed.miscmask:#x}",
    )


def build_facts(package: Package) -> BuildFacts | None:
    """The versions that the package tells; None when its build record cannot be read."""
    try:
        record = package.build_record
    except BuildRecordError:
        return None
    return BuildFacts(record.mystikos, dict(sorted(record.tools.items())))


def application(package: Package) -> bytes | None:
    """The program that the kernel starts; None when its config cannot be read."""
    try:
        return configs.from_record(package.record).application_path
    except ConfigError:
        return None


def config_facts(package: Package) -> ConfigFacts:
    """Every key of the record, which is what counts; the JSON tells which of them its author wrote."""
    try:
        config = configs.from_record(package.record, name=".mystconfig")
    except ConfigError as error:
        return ConfigFacts(str(error), ())
    given = _given(package)
    return ConfigFacts(None, tuple(_settings(config, given)))


def _given(package: Package) -> frozenset[str] | None:
    try:
        return frozenset(configs.parse(package.config_source, ".mystconfig").places)
    except ConfigError:
        return None


def _settings(config: Config, given: frozenset[str] | None) -> Iterator[SettingFacts]:
    for row in configs.KEYS:
        value = getattr(config, row.attribute)
        yield SettingFacts(
            key=row.name,
            value=row.kind.plain(value),
            default=not row.required and value == row.default,
            given=None if given is None else row.name in given,
        )


def section_facts(package: Package) -> tuple[SectionFacts, ...]:
    """Every section, in file order."""
    return tuple(
        SectionFacts(
            section.elf_name, place.offset, place.size, hashlib.sha256(package.section(section)).hexdigest()
        )
        for section, place in package.sections.items()
    )


def image_facts(package: Package, runtime: Runtime | None) -> tuple[ImageFacts, ...]:
    """Launcher, kernel and CRT image, compared with those of ``runtime`` (default: the installed ones)."""
    sizes = {
        "launcher": len(package.launcher),
        "kernel": package.sections[Section.KERNEL].size,
        "crt": package.sections[Section.CRT].size,
    }
    known = _known(runtime)
    return tuple(
        ImageFacts(name, sizes[name], digest, known[name] == digest if known else None)
        for name, digest in images_of_package(package).items()
    )


def _known(runtime: Runtime | None) -> Mapping[str, str] | None:
    try:
        return images_of_runtime(runtime or Runtime.load())
    except RuntimeMissingError:
        return None
