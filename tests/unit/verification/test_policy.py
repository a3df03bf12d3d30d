"""What a policy asks, from a file and as a library; and what a package answers."""

from __future__ import annotations

import datetime
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from tests.support import elves, packages

from mystikos.errors import ConfigError, KeyFileError
from mystikos.launcher import Runtime
from mystikos.package import unpack
from mystikos.provenance import images_of_package, images_of_runtime
from mystikos.verification import Policy, Report, load_policy, mrsigner_of, policy, verify
from mystikos.verification.documents import json_schema

OTHER = "0" * 64


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("package")
    return packages.make(home, SecurityVersion=3, HostEnvironmentVariables=["HOME", "LD_PRELOAD"])


def judged(package: Path, **asked: object) -> Report:
    return verify(unpack(package), Policy(**asked), runtime=packages.runtime())  # type: ignore[arg-type]


def failed(report: Report) -> list[str]:
    return [check.name for check in report.checks if check.failed]


def problem(report: Report, name: str) -> str:
    return next(check.problem or "" for check in report.checks if check.name == name)


def right(package: Path) -> dict[str, object]:
    """A policy that the package fulfils in every respect."""
    report = verify(unpack(package), runtime=packages.runtime())
    assert report.mrsigner
    assert report.mrenclave
    return {
        "signers": (OTHER, report.mrsigner.upper()),
        "mrenclaves": (report.mrenclave, OTHER),
        "product_id": 7,
        "minimum_security_version": 3,
        "forbid": ("HostApplicationParameters=true", "HostEnvironmentVariables=PYTHON*", "host-arguments"),
        "launchers": ("installed",),
        "kernels": (report.images["kernel"],),
        "crt_images": ("installed", OTHER),
    }


def test_a_package_that_is_all_the_policy_asks_for_passes(package: Path) -> None:
    report = judged(package, **right(package))
    assert failed(report) == []
    names = [check.name for check in report.checks if check.required]
    assert names[-9:] == [
        *("launcher", "kernel", "crt"),
        *("policy-signer", "policy-mrenclave", "policy-product", "policy-security-version"),
        *("policy-debug", "policy-settings"),
    ]


WRONG: dict[str, tuple[dict[str, object], str, str]] = {
    "signer": ({"signers": (OTHER,)}, "policy-signer", f"is not {OTHER}"),
    "measurement": ({"mrenclaves": (OTHER, "1" * 64)}, "policy-mrenclave", f"is not {OTHER} or 1111"),
    "product": ({"product_id": 8}, "policy-product", "ProductID is 7, not 8"),
    "product 0": ({"product_id": 0}, "policy-product", "ProductID is 7, not 0"),
    "version": ({"minimum_security_version": 4}, "policy-security-version", "is 3, at least 4"),
    "setting": (
        {"forbid": ("Debug=true", "HostEnvironmentVariables=LD_*")},
        "policy-settings",
        'HostEnvironmentVariables has "LD_PRELOAD" (forbidden: HostEnvironmentVariables=LD_*)',
    ),
    "lint": ({"forbid": ("host-code",)}, "policy-settings", "LD_PRELOAD lets the untrusted host choose code"),
    "launcher": ({"launchers": (OTHER,)}, "launcher", f"is another one than {OTHER}"),
    "kernel": ({"kernels": (OTHER,)}, "kernel", f"is another one than {OTHER}"),
    "CRT image": ({"crt_images": (OTHER,)}, "crt", f"is another one than {OTHER}"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_package_that_is_something_else_fails_that_check_alone(package: Path, what: str) -> None:
    changed, name, told = WRONG[what]
    report = judged(package, **{**right(package), **changed})
    assert failed(report) == [name]
    assert told in problem(report, name)


def test_a_debug_enclave_must_be_allowed(tmp_path: Path) -> None:
    package = packages.make(tmp_path, Debug=1)
    assert failed(judged(package)) == ["policy-debug"]
    assert failed(judged(package, allow_debug=True)) == []


def test_images_of_another_mystikos_are_a_note_until_the_policy_asks(package: Path) -> None:
    other = Runtime(elves.launcher() + b"x", elves.kernel(), elves.crt() + b"x")
    report = verify(unpack(package), runtime=other)
    assert [check.name for check in report.checks if not check.passed] == ["launcher", "crt"]
    assert report.passed
    asked = Policy(launchers=("installed",), kernels=("installed",), crt_images=("installed",))
    assert failed(verify(unpack(package), asked, runtime=other)) == ["launcher", "crt"]


def test_a_launcher_is_the_same_in_every_package_and_alone(package: Path, tmp_path: Path) -> None:
    other = packages.make(tmp_path, MaxThreads=9)
    digests = {images_of_package(unpack(path))["launcher"] for path in (package, other)}
    assert digests == {images_of_runtime(packages.runtime())["launcher"]}


def test_a_flipped_bit_of_the_launcher_shows(package: Path, tmp_path: Path) -> None:
    forge = packages.PackageForge.of(package)
    for at in (24, 4096 + 300, forge.offset(packages.Section.KERNEL) - 1):
        forge.data[at] ^= 1
        changed = unpack(forge.write(tmp_path))
        report = verify(changed, Policy(launchers=("installed",)), runtime=packages.runtime())
        assert failed(report) == ["record", "launcher"]
        forge.data[at] ^= 1


def test_without_a_runtime_there_is_nothing_to_compare_with(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Runtime.load
    monkeypatch.setattr(Runtime, "load", lambda: load(tmp_path))
    report = verify(unpack(package))
    assert report.passed
    assert "there is nothing to compare it with" in problem(report, "kernel")
    assert failed(verify(unpack(package), Policy(kernels=("installed",)))) == ["kernel"]
    assert failed(verify(unpack(package), Policy(kernels=("installed", report.images["kernel"])))) == []


# -- policy files


def test_a_policy_file_gives_the_policy(package: Path, tmp_path: Path) -> None:
    expected = Policy(**right(package))  # type: ignore[arg-type]
    document = {row.name: getattr(expected, row.attribute) for row in policy.KEYS}
    path = tmp_path / "policy.json"
    path.write_text("// who and what\n" + json.dumps(document))
    found = load_policy(path)
    assert {**vars(found), "name": "", "places": {}} == {
        **vars(expected), "name": "", "places": {}, "signers": tuple(s.lower() for s in expected.signers)
    }  # fmt: skip
    assert verify(unpack(package), found, runtime=packages.runtime()).passed


def test_an_empty_policy_asks_for_a_release(package: Path) -> None:
    assert policy.parse(b"{}", "p.json") == Policy()


def test_every_mistake_is_told_at_once_with_its_place() -> None:
    source = b"""{
  "Signer": "x",
  "MrEnclaves": ["12", 7],
  "ProductID": 70000,
  "AllowDebug": "no",
  "AttributeMasks": "strict",
  "Forbid": ["HostAplicationParameters=true", "host-coed", "Mount.Typ=hostfs", "Debug.x=1", "Mount.Type"],
  "Kernels": "instaled",
  "Signers": ["absent.pem"],
}"""
    with pytest.raises(ConfigError) as caught:
        policy.parse(source, "p.json")
    told = [str(one) for one in caught.value.problems]
    for expected in [
        'p.json:2:3: unknown key "Signer", did you mean "Signers"?',
        'p.json:3:18: MrEnclaves[0]: got "12", expected 64 hexadecimal digits',
        "p.json:3:24: MrEnclaves[1]: got 7, expected a string, 64 hexadecimal digits",
        "p.json:4:16: ProductID: got 70000, expected a whole number from 0 to 65535",
        'p.json:5:17: AllowDebug: got "no", expected true or false (or 1 or 0)',
        'p.json:6:21: AttributeMasks: got "strict", expected "exact", "debug" or "any"',
        'p.json:7:14: Forbid[0]: got "HostAplicationParameters=true", expected a key of the config, '
        "did you mean HostApplicationParameters?",
        'p.json:7:47: Forbid[1]: got "host-coed", expected a key of the config or a lint, '
        "did you mean host-code?",
        'p.json:7:60: Forbid[2]: got "Mount.Typ=hostfs", expected Mount.MEMBER with one of Target, Type, '
        "Flags, PublicKey, RootHash",
        'p.json:7:80: Forbid[3]: got "Debug.x=1", expected Debug without a member',
        'p.json:7:93: Forbid[4]: got "Mount.Type", expected Mount.Type=PATTERN',
        'p.json:8:14: Kernels: got "instaled", expected 64 hexadecimal digits or "installed"',
        "p.json:9:15: Signers[0]: absent.pem: no such file, expected a public key",
    ]:
        assert expected in told
    assert len(told) == 14  # and the comma


@pytest.mark.parametrize("key", ["Signers", "MrEnclaves", "Launchers", "Kernels", "CrtImages"])
def test_an_empty_list_is_a_mistake_and_does_not_ask_for_nothing(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"p.json:1:\d+: {key}: an empty list, expected at least one"):
        policy.parse(f'{{"{key}": []}}'.encode(), "p.json")
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid({key: []})
    assert policy.parse(b'{"Forbid": []}', "p.json") == Policy()


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null", b"\xff", b"{" * 9999, b"x" * (2 << 20)])
def test_what_is_no_policy_is_told(data: bytes) -> None:
    with pytest.raises(ConfigError):
        policy.parse(data, "p.json")


def test_a_policy_made_in_python_is_checked_too() -> None:
    for wrong in (
        {"signers": ("release.pem",)},
        {"mrenclaves": ("x",)},
        {"product_id": -1},
        {"forbid": ("nonsense",)},
        {"attribute_masks": "none"},
    ):
        with pytest.raises(ConfigError):
            Policy(**wrong)  # type: ignore[arg-type]


def test_the_schema_agrees_with_the_reader(package: Path) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    expected = Policy(**right(package))  # type: ignore[arg-type]
    good = {row.name: getattr(expected, row.attribute) for row in policy.KEYS}
    validator.validate(json.loads(json.dumps(good)))
    for bad in ({"Signer": []}, {"MrEnclaves": ["1"]}, {"ProductID": "1"}, {"AttributeMasks": "all"}):
        assert not validator.is_valid(bad)
        with pytest.raises(ConfigError):
            policy.parse(json.dumps(bad).encode(), "p.json")


# -- signers named by files


def certificate(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "release")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2030))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


FORMS: dict[str, Callable[[rsa.RSAPrivateKey], bytes]] = {
    "certificate": certificate,
    "public key": lambda key: key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ),
    "PKCS#1 public key": lambda key: key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.PKCS1
    ),
    "private key": lambda key: key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_signer_is_named_by_a_file_beside_the_policy(package: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/signer.pem").write_bytes(FORMS[form](packages.signer()._key))
    (tmp_path / "policy.json").write_text('{"Signers": "keys/signer.pem"}')
    asked = load_policy(tmp_path / "policy.json")
    assert asked.signers == (verify(unpack(package)).mrsigner,)


def test_an_encrypted_key_and_one_of_another_kind_name_no_signer(tmp_path: Path) -> None:
    def openssl(arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], check=True, cwd=tmp_path, capture_output=True)

    openssl("genrsa -aes256 -passout pass:secret -out encrypted.pem -3 3072")
    openssl("genrsa -out f4.pem 3072")
    (tmp_path / "text.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "directory").mkdir()
    for name, told in {
        "encrypted.pem": "is an encrypted private key",
        "f4.pem": "exponent 65537",
        "text.pem": "holds no key",
        "directory": "cannot be read",
    }.items():
        with pytest.raises(KeyFileError, match=told):
            mrsigner_of(name, tmp_path)
