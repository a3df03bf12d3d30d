"""Stage 6a: what a package says about how it was made, so that it can be made again.

The package itself holds what was measured. Told are the digests of what a rebuild must find elsewhere, the
launcher, kernel and CRT image of one build, and the versions of everything that decides about bytes. Nothing
here tells when, where, by whom or under which Python.

    record = record_of(runtime, config, measurement, sigstruct)
    record.tools, record.inputs
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import mystikos
from mystikos.formats.buildrecord import BuildRecord
from mystikos.formats.descriptor import Section
from mystikos.launcher import UNKNOWN, Runtime
from mystikos.layout import Kernel
from mystikos.package import Package, launcher_digest

if TYPE_CHECKING:
    from mystikos.config import Config
    from mystikos.formats.sigstruct import Sigstruct
    from mystikos.measurement import Measurement

__all__ = [
    "ToolChange",
    "images_of_package",
    "images_of_runtime",
    "inputs_of_package",
    "other_tools",
    "record_of",
    "tools",
]

_LIBRARIES = ("cbor2", "iced-x86")  # the config record, and where system calls are bound


def record_of(
    runtime: Runtime, config: Config, measurement: Measurement, sigstruct: Sigstruct
) -> BuildRecord:
    """The build record of a package that is made now."""
    inputs = {**images_of_runtime(runtime), "config": hashlib.sha256(config.source).hexdigest()}
    return BuildRecord(mystikos.__version__, tools(runtime), inputs, sigstruct.day, measurement.marks)


def tools(runtime: Runtime) -> Mapping[str, str]:
    """The versions of what decides about bytes, by name."""
    return {"rustc": runtime.rustc, **{name: _version(name) for name in _LIBRARIES}}


def _version(library: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # slow to load

    try:
        return version(library)
    except PackageNotFoundError:  # a library without its metadata works all the same
        return UNKNOWN


class ToolChange(NamedTuple):
    """A tool that two packages were made with in different versions; None where a record has none of it."""

    name: str
    before: str | None
    after: str | None


def other_tools(first: BuildRecord, again: BuildRecord) -> tuple[ToolChange, ...]:
    """Which versions differ between two records."""
    before = {"mystikos": first.mystikos, **first.tools}
    after = {"mystikos": again.mystikos, **again.tools}
    return tuple(
        ToolChange(name, before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    )


def images_of_package(package: Package) -> Mapping[str, str]:
    """SHA-256 (hexadecimal) of the native images in a package: launcher, kernel, CRT image."""
    return {
        "launcher": launcher_digest(package.launcher).hex(),
        "kernel": hashlib.sha256(package.section(Section.KERNEL)).hexdigest(),
        "crt": hashlib.sha256(package.section(Section.CRT)).hexdigest(),
    }


def images_of_runtime(runtime: Runtime) -> Mapping[str, str]:
    """The same of a runtime, as a package of it will hold them."""
    return {
        "launcher": launcher_digest(memoryview(runtime.launcher)).hex(),
        "kernel": hashlib.sha256(Kernel.parse(runtime.kernel, "libmystkernel").data).hexdigest(),
        "crt": hashlib.sha256(runtime.crt).hexdigest(),
    }


def inputs_of_package(package: Package) -> Mapping[str, str]:
    """What the record of a package must tell of its inputs."""
    return {**images_of_package(package), "config": hashlib.sha256(package.config_source).hexdigest()}
