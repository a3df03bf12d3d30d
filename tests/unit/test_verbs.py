"""Each verb against the function of its name: what a program gets is what a person is told."""

from __future__ import annotations

import importlib
import inspect as introspection
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.support import packages

from mystikos import config as configs
from mystikos import launcher, parts, verbs
from mystikos.cli import VERBS, main
from mystikos.doctor import State, Target
from mystikos.errors import ConfigError, MystError, OutputError
from mystikos.launcher import Runtime
from mystikos.pipeline import verify_rebuild
from mystikos.signers import PemSigner
from mystikos.text import plain

WITHOUT = {"completion", "man"}
NAMES = {verb: verb.replace("-", "_") for verb in VERBS if verb not in WITHOUT}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with an appdir, a config, a key and a package of them."""
    monkeypatch.setattr(Runtime, "load", packages.runtime)
    monkeypatch.chdir(tmp_path)
    packages.appdir(tmp_path / "appdir", {"etc/data": b"data" * 3000})
    Path("config.json").write_bytes(packages.config().source)
    verbs.keygen("key.pem")
    assert main(["package-sgx", "-q", "appdir", "key.pem", "config.json", "-o", "package"]) == 0
    return tmp_path


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What a verb says with --json, and how it ends."""

    def run(*arguments: str, status: int = 0) -> Any:
        capsys.readouterr()
        assert main([*arguments, "--json"]) == status
        return json.loads(capsys.readouterr().out)

    return run


def test_there_is_a_function_for_every_verb_and_no_other() -> None:
    functions = {name for name in verbs.__all__ if name.islower()}
    assert functions == set(NAMES.values())
    for name in functions:
        function = getattr(verbs, name)
        signature = introspection.signature(function)
        assert function.__doc__, name
        assert signature.return_annotation is not signature.empty, name
        assert all(one.annotation is not one.empty for one in signature.parameters.values()), name


def test_a_name_that_is_no_verb_is_no_function() -> None:
    with pytest.raises(AttributeError, match="no attribute 'run'"):
        importlib.import_module("mystikos.verbs").run  # noqa: B018


def test_functions_elsewhere_are_those(home: Path) -> None:
    for name, (module, function) in verbs.ELSEWHERE.items():
        assert getattr(verbs, name) is getattr(importlib.import_module(f"mystikos.{module}"), function)


def settings() -> configs.Config:
    return configs.load("config.json")


def key() -> PemSigner:
    return PemSigner.load("key.pem", None)


def test_package_sgx_and_sign_sgx_make_the_same_bytes(home: Path) -> None:
    verbs.package_sgx(Path("appdir"), key(), settings(), Path("again"))
    assert Path("again").read_bytes() == Path("package").read_bytes()

    assert main(["sign-sgx", "-q", "appdir", "key.pem", "config.json", "--outdir", "signed"]) == 0
    verbs.sign_sgx(Path("appdir"), key(), settings(), Path("signed-again"))
    files = sorted(path.relative_to("signed") for path in Path("signed").rglob("*") if path.is_file())
    assert len(files) == 7
    assert all(Path("signed", f).read_bytes() == Path("signed-again", f).read_bytes() for f in files)


def test_measure_inspect_and_diff_tell_the_same(home: Path, told: Callable[..., Any]) -> None:
    costs = verbs.measure(Path("appdir"), settings())
    assert told("measure", "appdir", "config.json")["mrenclave"] == costs.mrenclave
    facts = plain(verbs.inspect(Path("package")))
    assert told("inspect", "package")["rootfs"] == facts["rootfs"]

    Path("appdir/etc/data").write_bytes(b"other")
    verbs.package_sgx(Path("appdir"), key(), settings(), Path("changed"))
    found = verbs.diff(Path("package"), Path("changed"))
    assert told("diff", "package", "changed", status=1)["files"] == plain(found)["files"] != []


def test_verify_answers_the_same(home: Path, told: Callable[..., Any]) -> None:
    data = bytearray(Path("package").read_bytes())
    data[len(data) // 2] ^= 1
    Path("damaged").write_bytes(data)
    for name, status in (("package", 0), ("damaged", 1)):
        report = verbs.verify(Path(name))
        said = told("verify", name, status=status)
        assert (said["passed"], said["mrenclave"]) == (report.passed, report.mrenclave)
        assert [one["problem"] for one in said["checks"]] == [one.problem for one in report.checks]
        assert report.passed is (status == 0)


@pytest.mark.parametrize(("appdir", "status"), [("appdir", 0), ("other", 1)])
def test_verify_rebuilds_the_same(home: Path, told: Callable[..., Any], appdir: str, status: int) -> None:
    packages.appdir(home / "other", {"etc/data": b"other"})
    check = verify_rebuild(Path("package"), source=Path(appdir))
    said = told("verify", "package", "--rebuild", "--appdir", appdir, status=status)["checks"][-1]
    assert (said["name"], said["problem"]) == (check.name, check.problem)
    assert check.passed is (status == 0)


def test_dump_sgx_and_extract_give_the_same(home: Path, told: Callable[..., Any]) -> None:
    dump = plain(verbs.dump_sgx(Path("package")))
    assert told("dump-sgx", "package").items() >= dump.items()
    assert told("extract", "package", "-o", "parts")["files"] == [
        str(path).replace("more", "parts") for path in verbs.extract(Path("package"), Path("more")).files
    ]
    assert not verbs.diff(Path("parts/rootfs"), Path("more/rootfs")).files
    assert verbs.extract(Path("package"), Path("one"), only=["config"]).files == (
        Path("one/config.json"),
        Path("one/config.cbor"),
    )


def test_digest_and_attach_give_the_same(home: Path) -> None:
    assert main(["keygen", "-q", "elsewhere.pem"]) == 0
    elsewhere = PemSigner.load("elsewhere.pem", None)
    asked = verbs.digest(Path("appdir"), settings()).request
    assert main(["digest", "-q", "appdir", "config.json", "-o", "request.json"]) == 0
    assert Path("request.json").read_bytes() == asked.encode()

    signed = elsewhere.sign(asked.signed_bytes)
    Path("signature").write_bytes(signed)
    modulus = elsewhere.public_modulus()
    built = verbs.attach(Path("appdir"), settings(), asked, signed, modulus, Path("attached"))
    Path("public.pem").write_bytes(parts.public_key(built.sigstruct, "attached"))
    arguments = ["attach", "-q", "appdir", "config.json", "request.json", "-o", "told"]
    assert main([*arguments, "--signature", "signature", "--pubkey", "public.pem"]) == 0
    assert Path("told").read_bytes() == Path("attached").read_bytes()


def test_check_tells_the_same(home: Path, told: Callable[..., Any]) -> None:
    Path("bad.json").write_text('{"ApplicationPath": "bin/app", "MemorySize": "40q"}')
    Path("gone.json").write_text('{"ApplicationPath": "/bin/gone", "Debug": true}')
    for file, status in (("config.json", 0), ("bad.json", 2), ("gone.json", 2)):
        found = plain(verbs.check(Path(file), Path("appdir")))
        said = told("check", file, "appdir", status=status)
        assert {name: said[name] for name in found} == found
        assert bool(found["errors"]) is (status == 2)
    assert verbs.check(Path("gone.json")).errors == ()
    assert [one.lint for one in verbs.check(Path("gone.json")).warnings if one.lint] != []


def test_init_writes_the_same(home: Path, told: Callable[..., Any]) -> None:
    for name in ("one", "two"):
        Path(name).mkdir()
    made = verbs.init(Path("one"), "/bin/app")
    said = told("init", "two", "--application-path", "/bin/app")
    assert Path("one/config.json").read_bytes() == Path("two/config.json").read_bytes()
    assert plain(made) == {name: str(value).replace("two", "one") for name, value in said.items()} | {
        "key_is_new": True
    }
    with pytest.raises(OutputError, match="exists already"):
        verbs.init(Path("one"))
    Path("three").mkdir()
    with pytest.raises(ConfigError):
        verbs.init(Path("three"), "bin/app")
    assert list(Path("three").iterdir()) == []


def test_mkcpio_and_excpio_do_the_same(home: Path) -> None:
    tree = verbs.mkcpio(Path("appdir"), Path("one.cpio"))
    assert main(["mkcpio", "-q", "appdir", "two.cpio"]) == 0
    assert Path("one.cpio").read_bytes() == Path("two.cpio").read_bytes()
    assert verbs.excpio(Path("one.cpio"), Path("copy")).entries == len(tree.entries)
    assert verbs.diff(Path("appdir"), Path("copy")).equal


def test_schema_doctor_and_fsgsbase_tell_the_same(
    told: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == verbs.schema()
    assert main(["schema", "--policy"]) == 0
    assert json.loads(capsys.readouterr().out) == verbs.schema(policy=True)
    finding = verbs.fsgsbase()
    assert finding in verbs.doctor().findings
    works = finding.state is State.OK
    assert told("fsgsbase", status=0 if works else 1) == {"works": works, "remedy": finding.remedy}
    assert told("doctor", status=told_status())["findings"] == plain(verbs.doctor().findings)


def told_status() -> int:
    """0 where packages can run in SGX, else 1, whatever machine this is."""
    return 0 if verbs.doctor().verdict(Target.SGX).possible else 1


def test_collect_makes_the_same_directory(tmp_path: Path) -> None:
    assert main(["collect", "-q", "/bin/true", "-o", str(tmp_path / "told")]) == 0
    verbs.collect(["/bin/true"], tmp_path / "made")
    assert verbs.diff(tmp_path / "told", tmp_path / "made").equal


class Started(Exception):  # noqa: N818
    """What would have been executed."""


@pytest.mark.parametrize(("verb", "target"), [("exec_sgx", "sgx"), ("exec_linux", "linux")])
def test_an_exec_verb_becomes_the_package(
    home: Path, monkeypatch: pytest.MonkeyPatch, verb: str, target: str
) -> None:
    def execute(package: int, arguments: Any, *, target: str) -> NoReturn:
        size = os.fstat(package).st_size
        os.close(package)
        raise Started(size, arguments, target)

    monkeypatch.setattr(launcher, "execute", execute)
    debug = packages.config(Debug=1)
    with pytest.raises(Started) as caught:
        getattr(verbs, verb)(Path("appdir"), debug, ["one"])
    size, arguments, found = caught.value.args
    assert (arguments, found) == ([b"/bin/app", "one"], target)
    assert size > 50_000


def test_errors_are_those_of_the_library(home: Path) -> None:
    for name in ("verify", "inspect", "dump_sgx"):
        with pytest.raises(MystError):
            getattr(verbs, name)(Path("nowhere"))
    with pytest.raises(MystError):
        verbs.extract(Path("config.json"), Path("out"))
    assert not Path("out").exists()
