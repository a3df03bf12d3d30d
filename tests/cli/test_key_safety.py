"""Keys that must not sign: those that everybody has, and those for releases when the package is for debug."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from mystikos import development, signers
from mystikos.cli import main
from mystikos.package import unpack
from mystikos.signature import mrsigner
from mystikos.signers import PUBLISHED_KEYS, load_public_modulus

ARGUMENTS = ["package-sgx", "appdir", "private.pem", "config.json"]
COMMAND = ["--signing-command=openssl dgst -sha256 -sign private.pem", "--pubkey-file=public.pem"]
DIGEST = ["digest", "appdir", "config.json", "--pubkey=public.pem"]
BY_COMMAND = ["package-sgx", "appdir", "config.json", *COMMAND]


@pytest.fixture
def home(workplace: Path, signing_key: Path) -> Path:
    """A key and its public half beside what a package is made of."""
    shutil.copy(signing_key, "private.pem")
    openssl("rsa -in private.pem -pubout -out public.pem")
    return workplace


def openssl(arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], check=True, capture_output=True)


def debug() -> None:
    path = Path("config.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "Debug": True}))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert not Path("app").exists()
    assert not Path("request.json").exists()
    return err


def test_the_published_keys_are_refused_when_signing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("private.pem").write_bytes(development._KEY)
    told = refused(capsys, *ARGUMENTS)
    assert "signing key: everybody has it, its private half is published (mystikos, myst exec-linux" in told
    assert "expected a key of your own" in told
    assert "myst keygen" in told


@pytest.mark.parametrize("arguments", [BY_COMMAND, DIGEST])
def test_a_published_key_is_refused_wherever_it_is(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setitem(PUBLISHED_KEYS, mrsigner(load_public_modulus("public.pem")).hex(), "a test")
    assert "its private half is published (a test; MRSIGNER " in refused(capsys, *arguments)


def test_every_key_of_the_reference_is_in_the_table() -> None:
    assert len(PUBLISHED_KEYS) == 11
    assert all(len(bytes.fromhex(key)) == 32 and where for key, where in PUBLISHED_KEYS.items())


def test_verify_tells_that_the_signer_is_nobody(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(ARGUMENTS) == 0
    monkeypatch.setitem(PUBLISHED_KEYS, mrsigner(load_public_modulus("public.pem")).hex(), "a test")
    capsys.readouterr()
    assert main(["verify", "app"]) == 1
    assert "FAIL  signer: signer is nobody: anybody can sign with this key" in capsys.readouterr().out


def encrypted(path: Path) -> list[str]:
    openssl("pkcs8 -topk8 -v2 aes256 -in private.pem -out k.pem -passout pass:secret")
    Path("k.pem").replace(path)
    path.chmod(0o600)
    return [*ARGUMENTS, "--passphrase-env=SECRET"]


def marked(path: Path) -> list[str]:
    path.write_bytes(b"written by hand\n#  Mystikos: release key\r\n" + path.read_bytes())
    return ARGUMENTS


def marked_by_keygen(path: Path) -> list[str]:
    assert main(["keygen", str(path), "--release", "--force"]) == 0
    return ARGUMENTS


RELEASE_KEYS = {
    "marked": marked,
    "made with keygen --release": marked_by_keygen,
    "a command's": lambda _path: BY_COMMAND,
}


@pytest.mark.parametrize("kind", RELEASE_KEYS)
def test_a_release_key_signs_no_debug_package_unless_told_so(
    home: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    arguments = RELEASE_KEYS[kind](home / "private.pem")
    assert main(arguments) == 0
    Path("app").unlink()
    debug()

    told = refused(capsys, *arguments)
    assert 'signing key: it is for releases, and config.json has "Debug": true' in told
    assert "--allow-debug signs it all the same" in told

    assert main([*arguments, "--allow-debug"]) == 0
    assert unpack(Path("app")).enclave.debug


def test_an_encrypted_key_is_a_release_key(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "secret")
    arguments = encrypted(home / "private.pem")
    debug()
    assert "it is for releases" in refused(capsys, *arguments)
    assert main([*arguments, "--allow-debug"]) == 0


def test_a_plain_key_file_signs_debug_packages(home: Path) -> None:
    debug()
    assert main(ARGUMENTS) == 0


def test_openssl_reads_a_marked_key(home: Path) -> None:
    assert main(["keygen", "release.pem", "--release"]) == 0
    assert Path("release.pem").read_bytes().startswith(b"# mystikos: release key\n-----BEGIN")
    openssl("rsa -in release.pem -check -noout")


def test_a_debug_request_is_made_only_when_told_so_and_then_attached(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    debug()
    assert "it is for releases" in refused(capsys, "digest", "appdir", "config.json")
    assert main(["digest", "appdir", "config.json", "--allow-debug"]) == 0
    request = json.loads(Path("request.json").read_text())
    assert request["meaning"]["debug"] is True
    Path("message").write_bytes(bytes.fromhex(request["signed_bytes"]))
    openssl("dgst -sha256 -sign private.pem -out raw.sig message")

    attach = ["attach", "appdir", "config.json", "request.json", "--signature=raw.sig", "--pubkey=public.pem"]
    assert main(attach) == 0
    assert unpack(Path("app")).enclave.debug


class Own:
    """A signer of a stranger's."""

    def public_modulus(self) -> int:
        return 0

    def sign(self, message: bytes) -> bytes:
        return message


def test_a_signer_is_for_releases_unless_it_tells_otherwise() -> None:
    assert signers.is_release_key(Own())
    own = Own()
    own.release_key = False  # type: ignore[attr-defined]
    assert not signers.is_release_key(own)
    assert not signers.is_release_key(development.signer())


def test_a_plugin_tells_which_kind_of_key_it_has() -> None:
    from mystikos.signers.plugins import PluginSigner

    own = Own()
    assert signers.is_release_key(PluginSigner("own", own))
    own.release_key = False  # type: ignore[attr-defined]
    assert not signers.is_release_key(PluginSigner("own", own))
