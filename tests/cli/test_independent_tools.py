"""A package in the hands of tools that know nothing of mystikos: binutils, cpio, openssl, jsonschema."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

from mystikos.cli import main
from mystikos.formats.descriptor import Section
from mystikos.package import unpack


def run(*command: str | Path, **how: object) -> bytes:
    done = subprocess.run(command, check=True, capture_output=True, env={"LC_ALL": "C"}, **how)  # type: ignore[call-overload]
    return bytes(done.stdout)


@pytest.fixture
def home(workplace: Path, signing_key: Path) -> Path:
    shutil.copy(signing_key, "private.pem")
    (workplace / "appdir/etc/link").symlink_to("data")
    assert main(["package-sgx", "-q", "appdir", "private.pem", "config.json"]) == 0
    return workplace


def section(home: Path, name: str) -> bytes:
    """A section as objcopy reads it; its copy of the package goes where nobody looks."""
    run("objcopy", "--dump-section", f"{name}={home / 'dumped'}", home / "app", home / "copy")
    return (home / "dumped").read_bytes()


def test_readelf_lists_every_section_as_plain_data(home: Path) -> None:
    listed = run("readelf", "-SW", home / "app").decode()
    for one in Section:
        (line,) = [line for line in listed.splitlines() if f" {one.elf_name} " in line]
        kind, address = line.partition(one.elf_name)[2].split()[:2]
        assert (kind, int(address, 16)) == ("PROGBITS", 0)


@pytest.mark.parametrize(
    "one", [section for section in Section if section.name not in ("PUBKEYS", "ROOTHASHES")]
)
def test_objcopy_dumps_every_section_as_it_is_measured(home: Path, one: Section) -> None:
    assert section(home, one.elf_name) == unpack(home / "app").section(one)


def test_gnu_cpio_extracts_the_root_file_system(home: Path) -> None:
    (home / "tree").mkdir()
    run("cpio", "-id", "--quiet", cwd=home / "tree", input=section(home, ".mystrootfs"))
    assert run("diff", "-r", "--no-dereference", home / "appdir", home / "tree") == b""


def test_openssl_verifies_sigstruct_from_its_raw_bytes(home: Path) -> None:
    """SDM 3D, 35.14: which bytes are signed, and where modulus and signature stand, little-endian."""
    sigstruct = section(home, ".mystenc")[-1808:]
    (home / "message").write_bytes(sigstruct[:128] + sigstruct[900:1028])
    (home / "signature").write_bytes(sigstruct[516:900][::-1])
    modulus = sigstruct[128:512][::-1].hex()
    (home / "key.conf").write_text(f"asn1=SEQUENCE:key\n[key]\nn=INTEGER:0x{modulus}\ne=INTEGER:3\n")
    run("openssl", "asn1parse", "-genconf", "key.conf", "-noout", "-out", "key.der")
    run(
        "openssl", "rsa", "-RSAPublicKey_in", "-inform", "DER", "-in", "key.der", "-pubout", "-out", "key.pem"
    )
    told = run("openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "message")
    assert told == b"Verified OK\n"
    own = run("openssl", "rsa", "-in", "private.pem", "-pubout")
    assert own == (home / "key.pem").read_bytes()


def test_openssl_hashes_the_modulus_to_mrsigner(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "modulus").write_bytes(section(home, ".mystenc")[-1808:][128:512])
    hashed = run("openssl", "dgst", "-sha256", "-r", "modulus").split()[0].decode()
    capsys.readouterr()
    assert main(["verify", "app", "--json", "--signer", hashed]) == 0
    assert json.loads(capsys.readouterr().out)["mrsigner"] == hashed


def test_jsonschema_validates_the_config_in_the_package(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    place = unpack(home / "app").parameters.json
    document = json.loads(section(home, ".mystconfig")[place.offset : place.end])
    jsonschema.Draft202012Validator(schema).validate(document)


def test_any_json_reader_reads_the_build_record(home: Path) -> None:
    record = json.loads(run("python3", "-m", "json.tool", input=section(home, ".mystbuild")))
    assert record["type"] == "mystikos-build-record"
    kernel = run("sha256sum", input=section(home, ".libmystkernel")).split()[0].decode()
    assert record["inputs"]["kernel"] == kernel
