"""Signing keys: what openssl and `myst keygen` make is taken, anything else refused with a remedy."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from mystikos.errors import KeyFileError, OutputError
from mystikos.signers import KEY_BYTES, MAKE_A_KEY, PemSigner, keygen
from mystikos.signers.public import load_public_modulus

PASSPHRASE = b"correct horse"


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key as the specification makes it."""
    path = tmp_path_factory.mktemp("key") / "private.pem"
    openssl("genrsa", "-out", path, "-3", "3072")
    path.chmod(0o600)
    return path


def verify(signer: PemSigner, message: bytes) -> None:
    signature = signer.sign(message)
    assert len(signature) == KEY_BYTES
    public = rsa.RSAPublicNumbers(3, signer.public_modulus()).public_key()
    public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())


def test_a_key_of_openssl_signs(key: Path) -> None:
    verify(PemSigner.load(key, None), b"message")


def test_signatures_are_those_of_openssl(key: Path, tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(b"message")
    openssl("dgst", "-sha256", "-sign", key, "-out", tmp_path / "signature", tmp_path / "message")

    assert PemSigner.load(key, None).sign(b"message") == (tmp_path / "signature").read_bytes()


FORMS = {
    "PKCS#1": ["rsa", "-traditional"],
    "PKCS#1 encrypted": ["rsa", "-traditional", "-aes256", "-passout", "pass:correct horse"],
    "PKCS#8": ["pkcs8", "-topk8", "-nocrypt"],
    "PKCS#8 encrypted": ["pkcs8", "-topk8", "-v2", "aes256", "-passout", "pass:correct horse"],
    "PKCS#8 with scrypt": ["pkcs8", "-topk8", "-scrypt", "-passout", "pass:correct horse"],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_key_is_the_same_signer(key: Path, tmp_path: Path, form: str) -> None:
    openssl(*FORMS[form], "-in", key, "-out", tmp_path / "k.pem")
    (tmp_path / "k.pem").chmod(0o600)
    asked = []

    signer = PemSigner.load(tmp_path / "k.pem", lambda: asked.append(1) or PASSPHRASE)

    assert signer.public_modulus() == PemSigner.load(key, None).public_modulus()
    assert len(asked) == (form not in ("PKCS#1", "PKCS#8"))


@pytest.mark.parametrize("form", ["PKCS#1 encrypted", "PKCS#8 encrypted"])
def test_a_missing_and_a_wrong_passphrase_are_told_apart(key: Path, tmp_path: Path, form: str) -> None:
    openssl(*FORMS[form], "-in", key, "-out", tmp_path / "k.pem")
    (tmp_path / "k.pem").chmod(0o600)

    with pytest.raises(KeyFileError, match="is encrypted and no passphrase was given") as caught:
        PemSigner.load(tmp_path / "k.pem", None)
    assert "--passphrase-env" in str(caught.value.hint)
    with pytest.raises(KeyFileError, match="passphrase is wrong"):
        PemSigner.load(tmp_path / "k.pem", b"wrong")


WRONG_KEYS = {
    "RSA of 2048 bits": (["genrsa", "-3", "2048"], "is an RSA key of 2048 bits with exponent 3"),
    "RSA of 4096 bits": (["genrsa", "-3", "4096"], "is an RSA key of 4096 bits with exponent 3"),
    "exponent 65537": (["genrsa", "3072"], "is an RSA key of 3072 bits with exponent 65537"),
    "EC": (["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "is a key of type EC"),
    "RSASSA-PSS": (
        [
            "genpkey",
            "-algorithm",
            "RSA-PSS",
            "-pkeyopt",
            "rsa_keygen_bits:3072",
            "-pkeyopt",
            "rsa_keygen_pubexp:3",
        ],
        "is a key for RSASSA-PSS only",
    ),
    "Ed25519": (["genpkey", "-algorithm", "ED25519"], "is a key of type Ed25519"),
}


@pytest.mark.parametrize("kind", WRONG_KEYS)
def test_another_key_is_refused_with_the_command_that_makes_a_right_one(tmp_path: Path, kind: str) -> None:
    command, found = WRONG_KEYS[kind]
    path = tmp_path / "k.pem"
    path.write_bytes(subprocess.run(["openssl", *command], check=True, capture_output=True).stdout)
    path.chmod(0o600)

    with pytest.raises(KeyFileError) as caught:
        PemSigner.load(path, None)

    assert f"{path}: {found}, expected an RSA key of 3072 bits with exponent 3" == str(caught.value)
    assert caught.value.hint == MAKE_A_KEY


def test_a_public_key_for_pss_is_refused(tmp_path: Path) -> None:
    command = WRONG_KEYS["RSASSA-PSS"][0]
    openssl(*command, "-out", tmp_path / "pss.pem")
    openssl("pkey", "-in", tmp_path / "pss.pem", "-pubout", "-out", tmp_path / "public.pem")

    with pytest.raises(KeyFileError, match="for RSASSA-PSS only"):
        load_public_modulus(tmp_path / "public.pem")


def test_a_key_for_pss_is_refused_with_text_before_it(tmp_path: Path) -> None:
    pss = subprocess.run(["openssl", *WRONG_KEYS["RSASSA-PSS"][0]], check=True, capture_output=True).stdout
    (tmp_path / "k.pem").write_bytes(b"# mystikos: release key\n" + pss)
    (tmp_path / "k.pem").chmod(0o600)

    with pytest.raises(KeyFileError, match="for RSASSA-PSS only"):
        PemSigner.load(tmp_path / "k.pem", None)


def test_what_is_no_private_key_is_refused(key: Path, tmp_path: Path) -> None:
    pem = key.read_bytes()
    openssl("rsa", "-in", key, "-pubout", "-out", tmp_path / "public.pem")
    broken = {
        "empty": b"",
        "text": b"hello",
        "damaged": pem[:500] + b"AAAA" + pem[504:],
        "truncated": pem[:1000],
        "public": (tmp_path / "public.pem").read_bytes(),
        "DER": b"\x30\x82\x06\xfe\x02\x01\x00",
        "label only": b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        "encrypted label only": b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
        "huge": b"x" * 100_000,
    }
    for name, content in broken.items():
        path = tmp_path / f"{name}.pem"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(KeyFileError):
            PemSigner.load(path, b"passphrase")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_a_key_that_others_may_use_is_refused(key: Path, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "k.pem"
    path.write_bytes(key.read_bytes())
    path.chmod(mode)

    with pytest.raises(KeyFileError, match=f"mode {mode:04o} lets others") as caught:
        PemSigner.load(path, None)

    assert caught.value.hint == f"chmod 600 {path}"


def test_a_directory_a_pipe_and_a_missing_file_are_no_keys(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    with pytest.raises(KeyFileError, match="is not a regular file"):
        PemSigner.load(tmp_path / "pipe", None)
    with pytest.raises(KeyFileError, match="is not a regular file"):
        PemSigner.load(tmp_path, None)
    with pytest.raises(KeyFileError, match="no such file") as caught:
        PemSigner.load(tmp_path / "none.pem", None)
    assert caught.value.hint == MAKE_A_KEY


def test_keygen_makes_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "private.pem"
    before = os.umask(0)
    try:
        made = keygen(path)
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o777 == 0o600
    loaded = PemSigner.load(path, None)
    assert loaded.public_modulus() == made.public_modulus()
    assert loaded.public_modulus().bit_length() == 3072
    verify(loaded, b"message")
    openssl("rsa", "-check", "-in", path, "-noout")


def test_keygen_encrypts_with_a_passphrase(tmp_path: Path) -> None:
    made = keygen(tmp_path / "k.pem", PASSPHRASE)

    assert b"ENCRYPTED" in (tmp_path / "k.pem").read_bytes()
    assert PemSigner.load(tmp_path / "k.pem", PASSPHRASE).public_modulus() == made.public_modulus()


def test_keygen_keeps_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_text("mine")
    (tmp_path / "dangling.pem").symlink_to("nowhere")

    for name in ("k.pem", "dangling.pem"):
        with pytest.raises(KeyFileError, match="exists already"):
            keygen(tmp_path / name)
    assert (tmp_path / "k.pem").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_keygen_replaces_when_forced(tmp_path: Path) -> None:
    path = tmp_path / "k.pem"
    path.write_text("old")
    path.chmod(0o644)

    made = keygen(path, force=True)

    assert path.stat().st_mode & 0o777 == 0o600
    assert PemSigner.load(path, None).public_modulus() == made.public_modulus()


def test_keygen_tells_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        keygen(tmp_path / "none" / "k.pem")
