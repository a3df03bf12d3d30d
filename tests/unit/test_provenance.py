"""What a package says about how it was made."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.support import packages

import mystikos
from mystikos import pipeline, provenance
from mystikos.formats.buildrecord import BuildRecord
from mystikos.formats.descriptor import Section
from mystikos.launcher import UNKNOWN, Runtime
from mystikos.package import unpack
from mystikos.provenance import ToolChange


def test_a_package_tells_versions_inputs_and_date(tmp_path: Path) -> None:
    source = packages.appdir(tmp_path / "appdir")
    runtime = replace(packages.runtime(), rustc="rustc 1.95.0 (59807616e 2026-04-14)")
    date = datetime.date(2026, 11, 23)
    config = packages.config()
    pipeline.build(source, packages.signer(), config, tmp_path / "app", runtime=runtime, date=date)

    package = unpack(tmp_path / "app")
    record = package.build_record
    assert record.mystikos == mystikos.__version__
    assert record.tools == {
        "cbor2": version("cbor2"),
        "iced-x86": version("iced-x86"),
        "rustc": "rustc 1.95.0 (59807616e 2026-04-14)",
    }
    assert record.inputs == {
        **provenance.images_of_runtime(runtime),
        "config": hashlib.sha256(config.source).hexdigest(),
    }
    assert record.inputs == provenance.inputs_of_package(package)
    assert record.date == "2026-11-23"
    assert len(record.marks) == -(-package.sections[Section.ROOTFS].size // 4096)


def test_the_measurement_does_not_depend_on_what_is_told(tmp_path: Path) -> None:
    source = packages.appdir(tmp_path / "appdir")
    made = []
    for rustc in ("one", "two"):
        runtime = replace(packages.runtime(), rustc=rustc)
        pipeline.build(source, packages.signer(), packages.config(), tmp_path / rustc, runtime=runtime)
        made.append(unpack(tmp_path / rustc))
    assert made[0].sigstruct == made[1].sigstruct
    assert made[0].build_record != made[1].build_record


def test_the_installed_runtime_tells_its_compiler() -> None:
    assert Runtime.load().rustc.startswith("rustc 1.")


def test_a_runtime_without_that_word_says_so(tmp_path: Path) -> None:
    for name in ("myst-launcher", "libmystkernel", "libmystcrt.so"):
        (tmp_path / name).write_bytes(b"x")
    assert Runtime.load(tmp_path).rustc == UNKNOWN
    (tmp_path / "rustc-version").write_bytes(b"\xff\n")
    assert Runtime.load(tmp_path).rustc == UNKNOWN


def test_a_library_without_metadata_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_LIBRARIES", ("no-such-library",))
    assert provenance.tools(packages.runtime())["no-such-library"] == UNKNOWN


def test_versions_that_differ_are_told_by_name() -> None:
    first = BuildRecord("0.1.0", {"cbor2": "6.3.0", "rustc": "x"}, {}, "1980-01-01")
    again = BuildRecord("0.2.0", {"cbor2": "6.3.1", "new": "1"}, {}, "1980-01-01")
    assert provenance.other_tools(first, first) == ()
    assert provenance.other_tools(first, again) == (
        ToolChange("cbor2", "6.3.0", "6.3.1"),
        ToolChange("mystikos", "0.1.0", "0.2.0"),
        ToolChange("new", None, "1"),
        ToolChange("rustc", "x", None),
    )
