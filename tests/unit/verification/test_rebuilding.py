"""Packaging again what a package claims to be made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import elves, machine_code, packages
from tests.support.packages import PackageForge

from mystikos import config, pipeline
from mystikos.binding import table
from mystikos.errors import ConfigError
from mystikos.formats.descriptor import Section
from mystikos.launcher import Runtime
from mystikos.package import Package, unpack
from mystikos.verification import Check, rebuilding, verify


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return unpack(packages.make(tmp_path, SecurityVersion=3))


def rebuilt(package: Package, home: Path, **inputs: object) -> Check:
    inputs = {"runtime": packages.runtime(), **inputs}
    pipeline.rebuild(package, home / "again", **inputs)  # type: ignore[arg-type]
    return rebuilding.check(package, unpack(home / "again"))


def test_the_same_inputs_give_the_same_bytes(package: Package, tmp_path: Path) -> None:
    settings = config.parse(package.config_source, "other-name.json")
    assert rebuilt(package, tmp_path).passed
    assert rebuilt(package, tmp_path, source=tmp_path / "appdir").passed
    assert rebuilt(package, tmp_path, source=tmp_path / "appdir", config=settings).passed


def test_the_signature_and_its_date_are_the_packages_own(tmp_path: Path) -> None:
    import datetime

    source = packages.appdir(tmp_path / "appdir")
    date = datetime.date(2026, 11, 23)
    pipeline.build(
        source,
        packages.signer("other"),
        packages.config(),
        tmp_path / "app",
        runtime=packages.runtime(),
        date=date,
    )
    assert rebuilt(unpack(tmp_path / "app"), tmp_path, source=source).passed


def change_file(home: Path) -> dict[str, object]:
    (home / "appdir/etc/data").write_bytes(b"other")
    return {"source": home / "appdir"}


def add_file(home: Path) -> dict[str, object]:
    (home / "appdir/etc/more").write_bytes(b"other")
    (home / "appdir/bin/app").chmod(0o700)
    return {"source": home / "appdir"}


def change_setting(_home: Path) -> dict[str, object]:
    return {"config": packages.config(SecurityVersion=4)}


def change_comment(home: Path) -> dict[str, object]:
    source = unpack(home / "app.package").config_source
    return {"config": config.parse(source + b"// a word more", "config.json")}


def change_kernel(_home: Path) -> dict[str, object]:
    kernel = elves.kernel().replace(b"\x90\x90", b"\x90\x91", 1)
    return {"runtime": Runtime(elves.launcher(), kernel, elves.crt())}


def change_launcher(_home: Path) -> dict[str, object]:
    return {"runtime": Runtime(elves.launcher() + b"x", elves.kernel(), elves.crt())}


CAUSES: dict[str, tuple[Callable[[Path], dict[str, object]], str]] = {
    "a file": (change_file, "packaged → built now: file etc/data: size, content"),
    "files": (add_file, "packaged → built now: file bin/app: mode; and "),
    "a setting": (change_setting, "packaged → built now: config: SecurityVersion: 3 → 4; and "),
    "a comment": (change_comment, "packaged → built now: config JSON: from its byte "),
    "the kernel": (change_kernel, "packaged → built now: kernel: from its byte 0x1001 on, SHA-256 "),
    "the launcher": (change_launcher, "packaged → built now: launcher: from its byte "),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_first_difference_is_told_by_its_cause(package: Package, tmp_path: Path, cause: str) -> None:
    change, told = CAUSES[cause]
    check = rebuilt(package, tmp_path, **change(tmp_path))
    assert check.failed
    assert told in (check.problem or "")


def test_a_binding_table_that_the_signer_made_up_is_found(tmp_path: Path) -> None:
    """Consistent, measured and signed, and yet not what mystikos makes of these files."""
    program = machine_code.elf(bytes.fromhex("4889df 4489c0 0f05 c3"))  # mov rdi, rbx; mov eax, r8d; syscall
    source = packages.appdir(tmp_path / "appdir", application=program)
    pipeline.build(source, packages.signer(), packages.config(), tmp_path / "a", runtime=packages.runtime())
    package = unpack(tmp_path / "a")
    (record,) = table.decode(bytes(package.section(Section.BINDINGS)))
    later = table.Site(record.sites[0].offset + 3, b"\x44\x89\xc0", b"")
    forge = PackageForge(bytearray(package.file), package)
    forge.put(Section.BINDINGS, 0, table.encode([replace(record, sites=(later,))])).sign_again()
    changed = unpack(forge.write(tmp_path))
    assert verify(changed, runtime=packages.runtime()).passed
    check = rebuilt(changed, tmp_path)
    assert "system call bindings: from its byte " in (check.problem or "")


def test_contents_that_nobody_could_package_are_refused(package: Package, tmp_path: Path) -> None:
    forge = PackageForge(bytearray(package.file), package)
    at = package.parameters.json.offset
    changed = unpack(forge.put(Section.CONFIG, at, b"[").sign_again().write(tmp_path))
    with pytest.raises(ConfigError):
        rebuilt(changed, tmp_path)


def test_other_versions_are_told_and_fail_nothing_by_themselves(package: Package, tmp_path: Path) -> None:
    record = package.build_record
    forge = PackageForge(bytearray(package.file), package)
    older = {**record.tools, "cbor2": "5.6.0"}
    assert len(older["cbor2"]) == len(record.tools["cbor2"])
    changed = unpack(forge.fix_record(tools=older).write(tmp_path))
    assert verify(changed, runtime=packages.runtime()).passed

    tools = pipeline.rebuild(changed, tmp_path / "again", runtime=packages.runtime())
    check = rebuilding.check(changed, unpack(tmp_path / "again"), tools)
    assert check.passed
    assert f"with other tools, too: cbor2 5.6.0 → {record.tools['cbor2']}" in check.meaning

    tools = pipeline.rebuild(
        changed, tmp_path / "again", runtime=packages.runtime(), config=packages.config(SecurityVersion=4)
    )
    check = rebuilding.check(changed, unpack(tmp_path / "again"), tools)
    assert "; it was made with other tools: cbor2 5.6.0 → " in (check.problem or "")


def test_a_malformed_record_is_a_difference(package: Package, tmp_path: Path) -> None:
    forge = PackageForge(bytearray(package.file), package).put(Section.BUILD, 0, b"[")
    changed = unpack(forge.write(tmp_path))
    check = rebuilt(changed, tmp_path)
    assert "headers or build record: from its byte " in (check.problem or "")
