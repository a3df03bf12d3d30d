"""``myst verify`` with a policy and with ``--rebuild``, as a person uses it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
from tests.support import packages
from tests.support.packages import PackageForge

from mystikos.cli import main
from mystikos.formats.descriptor import Section
from mystikos.launcher import Runtime


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, signing_key: Path) -> Path:
    """appdir, config.json, release.pem (public) and a package ``app`` of them."""
    home = tmp_path_factory.mktemp("made")
    packages.appdir(home / "appdir", {"etc/data": b"x" * 5000})
    settings = {"ApplicationPath": "/bin/app", "MemorySize": "2m", "ProductID": 7, "SecurityVersion": 3}
    (home / "config.json").write_text(json.dumps(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(Runtime, "load", packages.runtime)
        assert main(["package-sgx", "appdir", str(signing_key), "config.json"]) == 0
        openssl = ["openssl", "rsa", "-in", str(signing_key), "-pubout", "-out", "release.pem"]
        subprocess.run(openssl, check=True, capture_output=True)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own with links to all of that."""
    monkeypatch.setattr(Runtime, "load", packages.runtime)
    monkeypatch.chdir(tmp_path)
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def verified(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str | None]:
    """The problem of every check, by name; the exit code agrees with what is told."""
    capsys.readouterr()
    code = main(["verify", "app", "--json", *arguments])
    out, err = capsys.readouterr()
    assert err == ""
    told = json.loads(out)
    failed = [check["name"] for check in told["checks"] if check["required"] and not check["passed"]]
    assert (code, told["passed"]) == ((1, False) if failed else (0, True))
    return {check["name"]: check["problem"] for check in told["checks"]}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["verify", "app", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("myst: ")
    assert "internal error" not in err
    return err


def test_every_option_asks_for_something(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    identity = json_of(capsys)
    options = ["--signer=release.pem", f"--mrenclave={identity['mrenclave']}", "--product-id=7"]
    options += ["--min-security-version=3", "--no-debug", "--attribute-masks=exact"]
    options += ["--forbid=HostApplicationParameters=true", "--forbid=host-code"]
    options += ["--launcher=installed", f"--kernel={identity['images']['kernel']}", "--crt=installed"]
    checks = verified(capsys, *options)
    assert set(checks.values()) == {None}
    assert {name for name in checks if name.startswith("policy-")} == {
        "policy-signer",
        "policy-mrenclave",
        "policy-product",
        "policy-security-version",
        "policy-debug",
        "policy-settings",
    }


def json_of(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    capsys.readouterr()
    main(["verify", "app", "--json"])
    told: dict[str, dict[str, str]] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.parametrize(
    ("option", "check"),
    [
        (f"--signer={'0' * 64}", "policy-signer"),
        (f"--mrenclave={'0' * 64}", "policy-mrenclave"),
        ("--product-id=0", "policy-product"),
        ("--min-security-version=4", "policy-security-version"),
        ("--forbid=MaxThreads=*", "policy-settings"),
        (f"--launcher={'0' * 64}", "launcher"),
        (f"--kernel={'0' * 64}", "kernel"),
        (f"--crt={'0' * 64}", "crt"),
    ],
)
def test_what_is_not_so_fails(
    home: Path, capsys: pytest.CaptureFixture[str], option: str, check: str
) -> None:
    checks = verified(capsys, option)
    assert [name for name, problem in checks.items() if problem] == [check]


def test_people_are_told_that_it_is_consistent_and_not_what_they_ask_for(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "app", "--min-security-version", "9"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  policy-security-version: SecurityVersion is 3, at least 9 is asked for\n" in out
    assert out.endswith("app is what it says it is, but NOT what the options ask for\n")


def test_a_policy_file_and_options_complete_each_other(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "policy.json").write_text('{"Signers": "release.pem"}  // nobody else')
    checks = verified(capsys, "--policy=policy.json", "--min-security-version=4")
    assert [name for name, problem in checks.items() if problem] == ["policy-security-version"]

    told = refused(capsys, "--policy=policy.json", "--signer=release.pem")
    assert "--signer: policy.json:1:13 says Signers already" in told


def test_all_mistakes_of_a_policy_file_are_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "policy.json").write_text('{"Signer": "x",\n "Forbid": ["Debgu"], "ProductID": "7"}')
    told = refused(capsys, "--policy=policy.json")
    assert 'policy.json:1:2: unknown key "Signer", did you mean "Signers"?' in told
    assert "policy.json:2:13: Forbid[0]" in told
    assert "policy.json:2:36: ProductID" in told


BAD_OPTIONS = {
    "--signer=absent.pem": "absent.pem: no such file",
    "--signer=appdir": "appdir: cannot be read",
    "--mrenclave=12": "--mrenclave: ",
    "--product-id=70000": "--product-id: got 70000, expected a whole number from 0 to 65535",
    "--product-id=x": "--product-id",
    "--forbid=host-coed": "--forbid: ",
    "--kernel=x": "--kernel: ",
    "--policy=absent": "absent: no such file",
    "--policy=appdir": "appdir: is a directory",
    "--appdir=appdir": "--appdir and --config are for --rebuild",
    "--config=config.json": "--appdir and --config are for --rebuild",
    "--attribute-masks=strict": "--attribute-masks",
}


@pytest.mark.parametrize("option", BAD_OPTIONS)
def test_bad_options_are_told(home: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert BAD_OPTIONS[option] in refused(capsys, option)


def test_a_debug_package_passes_alone_and_not_as_soon_as_anything_is_asked(
    home: Path, capsys: pytest.CaptureFixture[str], signing_key: Path
) -> None:
    (home / "debug.json").write_text('{"ApplicationPath": "/bin/app", "MemorySize": "2m", "Debug": true}')
    (home / "app").unlink()
    assert main(["package-sgx", "appdir", str(signing_key), "debug.json"]) == 0
    assert [name for name, problem in verified(capsys).items() if problem] == []
    for asked in (["--no-debug"], ["--signer=release.pem"]):
        assert [name for name, problem in verified(capsys, *asked).items() if problem] == ["policy-debug"]
    assert set(verified(capsys, "--signer=release.pem", "--allow-debug").values()) == {None}


# -- rebuild


def test_a_package_is_rebuilt_from_itself_and_from_its_sources(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for inputs in (
        [],
        ["--appdir=appdir"],
        ["--config=config.json"],
        ["--appdir=appdir", "--config=config.json"],
    ):
        checks = verified(capsys, "--rebuild", *inputs)
        assert checks["rebuild"] is None


def test_another_source_is_told_by_its_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packages.appdir(home / "changed", {"etc/data": b"y" * 5000})
    checks = verified(capsys, "--rebuild", "--appdir=changed")
    assert "file etc/data: content" in (checks["rebuild"] or "")


@pytest.mark.parametrize(
    "option", ["--appdir=absent", "--config=absent", "--config=app", "--appdir=config.json"]
)
def test_inputs_that_cannot_be_packaged_are_bad_input(
    home: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    refused(capsys, "--rebuild", option)


def test_contents_that_cannot_be_packaged_are_a_no(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forge = PackageForge.of(home / "app")
    forge.put(Section.CONFIG, forge.package.parameters.json.offset, b"[").sign_again()
    (home / "app").unlink()
    forge.write(home).rename(home / "app")
    checks = verified(capsys, "--rebuild")
    assert (checks["rebuild"] or "").startswith("its own contents are refused: ")


# -- damaged files


def test_a_damaged_package_is_a_no_in_one_document(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = (home / "app").read_bytes()[:-100]
    (home / "app").unlink()
    (home / "app").write_bytes(damaged)
    checks = verified(capsys, "--rebuild", "--signer=release.pem")
    assert list(checks) == ["format"]
    assert "beyond the file's end" in (checks["format"] or "")
    assert main(["verify", "app"]) == 1
    assert capsys.readouterr().out.endswith("app is NOT what it says it is\n")


def test_the_schema_of_policies_is_printed_and_valid(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["schema", "--policy"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "MinimumSecurityVersion" in schema["properties"]
