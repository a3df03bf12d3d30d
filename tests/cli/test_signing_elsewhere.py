"""``myst digest`` and ``myst attach``, signing commands and plugins: the key is not at hand."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest
from tests.support import tokens
from tests.support.tokens import openssl, sign_request

from mystikos.cli import main
from mystikos.package import unpack
from mystikos.signers import load_public_modulus

APP = ["appdir", "config.json"]
ATTACH = ["attach", *APP, "request.json", "--signature=raw.sig", "--pubkey=public.pem"]


@pytest.fixture
def asked(workplace: Path, signing_key: Path) -> Path:
    """A request, its signature and the public key."""
    openssl("rsa", "-in", str(signing_key), "-pubout", "-out", "public.pem")
    assert main(["digest", *APP, "--date=2026-11-23"]) == 0
    sign_request(signing_key)
    return workplace


def test_the_package_is_the_one_the_key_file_makes(asked: Path, signing_key: Path) -> None:
    assert main(ATTACH) == 0
    arguments = ["appdir", str(signing_key), "config.json", "-o", "reference", "--date=2026-11-23"]
    assert main(["package-sgx", *arguments]) == 0
    assert Path("app").read_bytes() == Path("reference").read_bytes()
    assert main(["verify", "app"]) == 0


def test_openssl_verifies_what_was_attached(asked: Path) -> None:
    assert main(ATTACH) == 0
    signed = unpack(Path("app")).sigstruct
    Path("attached").write_bytes(signed.signature.to_bytes(384, "big"))
    Path("fields").write_bytes(signed.signed_bytes())
    told = openssl("dgst", "-sha256", "-verify", "public.pem", "-signature", "attached", "fields")
    assert told == b"Verified OK\n"


@pytest.mark.parametrize("encode", [bytes.hex, lambda raw: base64.encodebytes(raw).decode()])
def test_a_signature_in_text_is_taken(asked: Path, encode: object) -> None:
    assert callable(encode)
    Path("raw.sig").write_text(encode(Path("raw.sig").read_bytes()) + "\n")
    assert main(ATTACH) == 0


def test_the_same_inputs_give_the_same_request(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["digest", *APP, "--date=2026-11-23", "-o", "again.json", "--json"]) == 0
    assert Path("again.json").read_bytes() == Path("request.json").read_bytes()
    assert json.loads(capsys.readouterr().out) == json.loads(Path("request.json").read_text())


def refused(capsys: pytest.CaptureFixture[str], code: int, told: str) -> None:
    capsys.readouterr()
    assert main(ATTACH) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert not Path("app").exists()


def test_a_changed_file_is_named_by_its_part(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("appdir/etc/data").write_bytes(b"y" * 5000)
    refused(capsys, 1, "rootfs: has changed")


def test_a_changed_setting_is_named(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path("config.json")
    config.write_text(config.read_text().replace('"ProductID": 7', '"ProductID": 8'))
    refused(capsys, 1, "product_id: 8, the request has 7")


def test_a_flipped_bit_of_the_signature_is_no(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = bytearray(Path("raw.sig").read_bytes())
    raw[200] ^= 1
    Path("raw.sig").write_bytes(raw)
    refused(capsys, 1, "not over these fields, or not by this key")


def test_another_key_is_no(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    openssl("rsa", "-in", str(tokens.make_key(asked / "b.pem")), "-pubout", "-out", "public.pem")
    refused(capsys, 1, "not by this key")


def test_a_request_for_one_key_takes_no_other(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tokens.make_key(asked / "b.pem")
    assert main(["digest", *APP, "--pubkey=public.pem"]) == 0
    sign_request(other)
    openssl("rsa", "-in", str(other), "-pubout", "-out", "public.pem")
    refused(capsys, 1, "expected that of the request")


@pytest.mark.parametrize("size", [0, 1, 383, 385, 768])
def test_what_is_no_signature_is_bad_input(
    asked: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    Path("raw.sig").write_bytes(bytes(size))
    refused(capsys, 2, "raw.sig: is no signature")


def test_a_private_key_is_no_public_key(
    asked: Path, signing_key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("public.pem").write_bytes(signing_key.read_bytes())
    refused(capsys, 2, "holds a private key")


DAMAGED = {
    "no JSON": ("{", "", "is not JSON"),
    "another meaning": ('"product_id": 7', '"product_id": 8', "meaning is not that"),
    "true for 1": ('"security_version": 3', '"security_version": true', "meaning is not that"),
    "another digest": ('"sha256": "', '"sha256": "0', "sha256 is not that"),
    "another version": ('"version": 1', '"version": 2', "is of version 2"),
    "another type": ("mystikos-signing-request", "x", "is no signing request"),
    "a member more": ('"mrsigner"', '"more": 1, "mrsigner"', "has not the members"),
    "bytes missing": ('"signed_bytes": "06', '"signed_bytes": "', "signed_bytes is malformed"),
    "another header": ('"signed_bytes": "06', '"signed_bytes": "07', "not those of a SIGSTRUCT"),
    "a number for an input": ('"rootfs": "', '"more": 1, "rootfs": "', "inputs are malformed"),
    "a number for a signer": ('"mrsigner": null', '"mrsigner": 1', "mrsigner is malformed"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_request_is_bad_input(asked: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    old, new, told = DAMAGED[damage]
    request = Path("request.json")
    text = request.read_text()
    assert old in text
    request.write_text(text.replace(old, new, 1))
    refused(capsys, 2, told)


def command(*more: str, line: str) -> list[str]:
    return ["package-sgx", *APP, f"--signing-command={line}", "--pubkey-file=public.pem", *more]


def test_a_command_signs_the_message_or_its_digest(asked: Path, signing_key: Path) -> None:
    assert main(command("-o", "a", line=f"openssl dgst -sha256 -sign '{signing_key}'")) == 0
    line = f"openssl pkeyutl -sign -pkeyopt digest:sha256 -inkey '{signing_key}'"
    assert main(command("-o", "b", "--signing-input=digest", line=line)) == 0
    assert Path("a").read_bytes() == Path("b").read_bytes()
    assert main(["verify", "a"]) == 0


BAD_COMMANDS = {
    "fails": (
        f"{sys.executable} -c 'import sys; sys.exit(\"no card\")'",
        "exit code 1, expected exit code 0",
    ),
    "dies": (f"{sys.executable} -c 'import os; os.kill(os.getpid(), 9)'", "killed by SIGKILL"),
    "is absent": ("/absent/command", "cannot be run"),
    "is empty": ("", "is empty"),
    "has an open quote": ("'", "cannot be split"),
    "writes nothing": ("true", "wrote 0 bytes"),
    "signs something else": ("head -c 384 /dev/zero", "not over these fields"),
    "takes too long": ("sleep 60", "did not end within 0.5 seconds"),
    "leaves somebody who holds the pipe": ("sh -c 'sleep 20 & exit 0'", "did not end within 0.5 seconds"),
    "never stops writing": ("yes", "wrote more than 64 KiB"),
    "writes a signature and more": ("head -c 385 /dev/zero", "wrote 385 bytes"),
}


def test_a_command_has_some_time_at_least(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command("--signing-timeout=nan", line="true")) == 2
    assert "a timeout of nan" in capsys.readouterr().err
    assert not Path("app").exists()


@pytest.mark.parametrize("defect", BAD_COMMANDS)
def test_a_command_that_does_not_sign_makes_no_package(
    asked: Path, capfd: pytest.CaptureFixture[str], defect: str
) -> None:
    line, told = BAD_COMMANDS[defect]
    hurry = ["--signing-timeout=0.5"] if "did not end" in told else []
    assert main(command(*hurry, line=line)) == 2
    err = capfd.readouterr().err
    assert told in err
    assert ("no card" in err) == (defect == "fails")
    assert not Path("app").exists()


PLUGIN = """
import sys
from mystikos.signers import PemSigner

def pem(options):
    return PemSigner.load(options["file"], None)

class Liar:
    def public_modulus(self): return (1 << 3071) + 1
    def sign(self, message): return b"trust me".ljust(384)

class Short(Liar):
    def public_modulus(self): return 35

class Text(Liar):
    def sign(self, message): return "text"

class Leaver(Liar):
    def sign(self, message): sys.exit(0)

class Negative(Liar):
    def public_modulus(self): return -(1 << 3071) - 1

class Shy(Liar):
    @property
    def sign(self): return 1 / 0

def exits(options): sys.exit(0)

leaver, negative, shy = lambda o: Leaver(), lambda o: Negative(), lambda o: Shy()
liar, short, text = (lambda kind: lambda options: kind())(Liar), lambda o: Short(), lambda o: Text()
number = lambda options: 1
"""


@pytest.fixture
def plugin(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that offers signers, installed."""
    (asked / "site/vault-1.dist-info").mkdir(parents=True)
    (asked / "site/vault_signers.py").write_text(PLUGIN)
    points = "".join(f"{name} = vault_signers:{name}\n" for name in PLUGINS)
    (asked / "site/vault-1.dist-info/entry_points.txt").write_text(f"[mystikos.signers]\n{points}")
    (asked / "site/vault-1.dist-info/METADATA").write_text("Name: vault\nVersion: 1\n")
    monkeypatch.syspath_prepend(asked / "site")
    monkeypatch.delitem(sys.modules, "vault_signers", raising=False)


PLUGINS = {
    "pem": "signer pem: KeyError: 'file'",
    "liar": "not over these fields",
    "short": "a modulus of 6 bits",
    "text": "sign() gave str, expected bytes",
    "number": "made a int without public_modulus()",
    "exits": "signer exits: SystemExit: 0",
    "leaver": "signer leaver: SystemExit: 0",
    "negative": "public_modulus() gave a negative number",
    "shy": "signer shy: ZeroDivisionError",
    "absent": "has no attribute 'absent'",
}


def test_a_plugin_signs(plugin: None, signing_key: Path) -> None:
    assert main(["package-sgx", *APP, "--signer=pem", f"--signer-option=file={signing_key}"]) == 0
    assert unpack(Path("app")).sigstruct.modulus == load_public_modulus("public.pem")
    assert main(["verify", "app"]) == 0


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_that_does_not_sign_makes_no_package(
    plugin: None, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["package-sgx", *APP, f"--signer={name}"]) == 2
    assert PLUGINS[name] in capsys.readouterr().err
    assert not Path("app").exists()


def test_a_plugin_that_is_not_installed_is_told(plugin: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["package-sgx", *APP, "--signer=pen"]) == 2
    assert "did you mean pem?" in capsys.readouterr().err
