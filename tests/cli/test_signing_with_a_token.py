"""Signing with a key in a token, for real: SoftHSM2."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import tokens
from tests.support.tokens import PIN

from mystikos import pipeline
from mystikos.cli import main
from mystikos.errors import SignerError
from mystikos.signers import PemSigner, pkcs11
from mystikos.signers.pkcs11 import Pkcs11Signer, TokenKey

APP = ["appdir", "config.json"]
WITH_KEY = ["--pkcs11-token=release", "--pkcs11-key=good"]


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory: pytest.TempPathFactory, signing_key: Path) -> str:
    """SoftHSM2's module, with two tokens and keys of every kind."""
    home = tmp_path_factory.mktemp("softhsm")
    tokens.configure(home)
    for label in ("release", "other"):
        tokens.make_token(label)
    tokens.import_key(signing_key, "release", "good", "01")
    tokens.import_key(tokens.make_key(home / "f4.pem", exponent=65537), "release", "exponent 65537", "02")
    tokens.import_key(tokens.make_key(home / "small.pem", bits=2048), "release", "2048 bits", "03")
    tokens.import_key(tokens.make_key(home / "twin.pem"), "release", "twin", "04")
    tokens.import_key(tokens.make_key(home / "twin2.pem"), "release", "twin", "05")
    tokens.import_key(tokens.make_key(home / "only.pem"), "other", "only", "01")
    return tokens.module()


@pytest.fixture(autouse=True)
def pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_PIN", PIN)


@pytest.fixture
def reference(workplace: Path, signing_key: Path) -> bytes:
    """The package that the same key makes from its file."""
    shutil.copy(signing_key, "private.pem")
    Path("private.pem").chmod(0o600)
    assert main(["package-sgx", "appdir", "private.pem", "config.json", "-o", "reference"]) == 0
    Path("private.pem").unlink()
    return Path("reference").read_bytes()


WAYS = {
    "labels": [*WITH_KEY, "--pkcs11-module", "{}"],
    "an id": ["--pkcs11-token=release", "--pkcs11-key-id=01", "--pkcs11-module", "{}"],
    "a URI": ["--pkcs11-key=pkcs11:token=release;object=good;id=%01", "--pkcs11-module", "{}"],
    "a URI with its module": ["--pkcs11-key=pkcs11:token=release;object=good;type=private?module-path={}"],
    "the original's options": [
        "--signing-engine-name=pkcs11",
        "--signing-engine-path={}",
        "--signing-engine-key=pkcs11:token=release;object=good",
    ],
    "the original's options with a label": [
        "--signing-engine-name=pkcs11",
        "--signing-engine-path={}",
        "--signing-engine-key=good",
        "--pkcs11-token=release",
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_token_makes_the_same_package_as_the_key_file(module: str, reference: bytes, way: str) -> None:
    options = [option.format(module) for option in WAYS[way]]
    assert main(["package-sgx", *APP, *options, "--pin-env=TOKEN_PIN"]) == 0
    assert Path("app").read_bytes() == reference
    assert main(["verify", "app"]) == 0


def test_the_pin_comes_from_a_descriptor(module: str, reference: bytes) -> None:
    read, write = os.pipe()
    os.write(write, PIN.encode() + b"\n")
    os.close(write)
    assert main(["package-sgx", *APP, *WITH_KEY, "--pkcs11-module", module, f"--pin-fd={read}"]) == 0
    os.close(read)
    assert Path("app").read_bytes() == reference


def test_the_only_key_of_a_token_needs_no_name(module: str, workplace: Path) -> None:
    options = ["--pkcs11-module", module, "--pkcs11-token=other", "--pin-env=TOKEN_PIN"]
    assert main(["package-sgx", *APP, *options]) == 0
    assert main(["verify", "app"]) == 0


REFUSED = {
    "another exponent": (["--pkcs11-key=exponent 65537"], "3072 bits with exponent 65537, expected an RSA"),
    "another size": (["--pkcs11-key=2048 bits"], "2048 bits with exponent 3, expected an RSA"),
    "no such key": (["--pkcs11-key=absent"], "no such RSA private key"),
    "two keys": (["--pkcs11-key=twin"], "several keys fit"),
    "no such id": (["--pkcs11-key-id=0f"], "no such RSA private key"),
    "an id that is no hex": (["--pkcs11-key-id=x"], "expected hex"),
    "another token in the URI": (["--pkcs11-key=pkcs11:token=other;object=good"], "name another token"),
    "a PIN in the URI": (["--pkcs11-key=pkcs11:object=good?pin-value=1"], "has pin-value"),
    "a URI of more": (["--pkcs11-key=pkcs11:object=good;slot-id=1"], 'has "slot-id=1"'),
    "a key file too": (["private.pem"], "expected APPDIR CONFIG"),
    "a passphrase": (["--passphrase-env=TOKEN_PIN"], "--passphrase-env has no effect"),
    "a command too": (["--signing-command=true"], "name 2 signers (pkcs11, command)"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_cannot_sign_is_refused_before_any_work(
    module: str,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mistake: str,
) -> None:
    _no_work(monkeypatch)
    options, told = REFUSED[mistake]
    common = ["--pkcs11-module", module, "--pkcs11-token=release", "--pin-env=TOKEN_PIN"]
    assert main(["package-sgx", *APP, *common, *options]) == 2
    assert told in capsys.readouterr().err
    assert not Path("app").exists()


def _no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(pipeline, "build", work)


# A process of its own, for SoftHSM2 lets itself be initialised only once in each.
REFUSING = """
import sys
from mystikos import pipeline
from mystikos.cli import main
pipeline.build = lambda *_, **__: sys.exit("work was begun")
sys.exit(main(sys.argv[1:]))
"""


def test_a_token_that_refuses_exponent_3_is_refused_before_any_work(workplace: Path) -> None:
    refusing = tokens.refusing_module(workplace)
    options = [*WITH_KEY, "--pkcs11-module", refusing, "--pin-env=TOKEN_PIN"]
    done = subprocess.run(
        [sys.executable, "-c", REFUSING, "package-sgx", *APP, *options],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "the token does not sign with this key" in done.stderr
    assert "refuses a key of this size or exponent" in done.stderr
    assert "some tokens refuse exponent 3" in done.stderr
    assert not Path("app").exists()


PULLED = """
import shutil, sys
from mystikos import pipeline
from mystikos.cli import main
from mystikos.launcher import Runtime
from tests.support import packages

Runtime.load = packages.runtime
real = pipeline.build_into
def pulled(*arguments, **more):
    shutil.rmtree("tokens")
    return real(*arguments, **more)
pipeline.build_into = pulled
sys.exit(main(sys.argv[1:]))
"""


def test_a_token_that_is_pulled_out_during_the_work_makes_no_package(module: str, workplace: Path) -> None:
    configuration = Path(os.environ["SOFTHSM2_CONF"]).read_text()
    directory = re.search(r"directories.tokendir = (.*)", configuration)
    assert directory is not None
    shutil.copytree(directory[1], "tokens")
    Path("conf").write_text(f"directories.tokendir = {workplace / 'tokens'}\n")
    options = [*WITH_KEY, "--pkcs11-module", module, "--pin-env=TOKEN_PIN"]
    done = subprocess.run(
        [sys.executable, "-c", PULLED, "package-sgx", *APP, *options],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SOFTHSM2_CONF": str(workplace / "conf")},
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "the token does not work, or is no longer there" in done.stderr
    assert not Path("app").exists()


def test_a_wrong_pin_and_none_are_told(
    module: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOKEN_PIN", "0000")
    common = ["package-sgx", *APP, *WITH_KEY, "--pkcs11-module", module]
    assert main([*common, "--pin-env=TOKEN_PIN"]) == 2
    assert "the PIN is wrong" in capsys.readouterr().err
    monkeypatch.setattr(os, "isatty", lambda _: False)
    assert main(common) == 2
    assert "the token wants a PIN" in capsys.readouterr().err
    assert main([*common, "--pin-env=ABSENT"]) == 2
    assert "ABSENT is not set" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/absent.so", "config.json"])
def test_a_module_that_is_none_is_told(
    workplace: Path, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    assert main(["package-sgx", *APP, "--pkcs11-module", path, "--pin-env=TOKEN_PIN"]) == 2
    assert f"myst: {path}: cannot be loaded" in capsys.readouterr().err


def test_a_token_that_is_not_there_is_told(
    module: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["package-sgx", *APP, "--pkcs11-module", module, "--pin-env=TOKEN_PIN"]
    assert main([*common, "--pkcs11-token=absent"]) == 2
    assert "no such token" in capsys.readouterr().err
    assert main([*common, "--pkcs11-key=good"]) == 2
    assert "several tokens fit" in capsys.readouterr().err


def test_another_engine_is_refused_with_the_way_on(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = ["--signing-engine-name=azure", "--signing-engine-path=x.so", "--signing-engine-key=k"]
    assert main(["package-sgx", *APP, *engine]) == 2
    err = capsys.readouterr().err
    assert "expected pkcs11" in err
    assert "--signing-command" in err


def test_the_signer_is_a_library(module: str, signing_key: Path) -> None:
    signer = Pkcs11Signer.open(TokenKey(module, token="release", label="good"), PIN.encode)
    same = PemSigner.load(signing_key, None)
    assert signer.public_modulus() == same.public_modulus()
    assert signer.sign(b"message") == same.sign(b"message")


def test_tokens_that_do_only_the_rsa_part_make_the_same_signature(
    module: str, signing_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pkcs11 import Mechanism

    asked = []

    def few(session: object) -> set[Mechanism]:
        asked.append(session)
        return {Mechanism.RSA_PKCS}

    monkeypatch.setattr(pkcs11, "_mechanisms", few)
    signer = Pkcs11Signer.open(TokenKey(module, token="release", label="good"), PIN.encode)
    assert signer.sign(b"message") == PemSigner.load(signing_key, None).sign(b"message")
    assert asked


def test_a_missing_python_pkcs11_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(SignerError, match="python-pkcs11 is not installed") as caught:
        Pkcs11Signer.open(TokenKey("/m.so"), lambda: b"")
    assert "mystikos[pkcs11]" in (caught.value.hint or "")
