"""``myst package-sgx`` and ``myst verify``, as a person uses them."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support import elves, packages

from mystikos.cli import main
from mystikos.launcher import Runtime
from mystikos.package import unpack

ARGUMENTS = ["appdir", "private.pem", "config.json"]


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("key") / "private.pem"
    assert main(["keygen", str(path)]) == 0
    return path.read_bytes()


@pytest.fixture
def home(tmp_path: Path, key: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with all that a package is made of, and nothing else."""
    packages.appdir(tmp_path / "appdir", {"etc/data": b"x" * 5000})
    (tmp_path / "private.pem").write_bytes(key)
    (tmp_path / "private.pem").chmod(0o600)
    settings = {"ApplicationPath": "/bin/app", "MemorySize": "2m", "ProductID": 1, "SecurityVersion": 1}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setattr(Runtime, "load", packages.runtime)
    return tmp_path


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


INPUTS = {"appdir", "private.pem", "config.json"}


def test_the_package_is_named_as_its_program_and_can_be_executed(home: Path) -> None:
    assert main(["package-sgx", *ARGUMENTS]) == 0
    assert names(home) == {*INPUTS, "app"}
    assert (home / "app").stat().st_mode & 0o777 == 0o755 & ~_umask()
    assert main(["verify", "app"]) == 0


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_the_original_verb_and_an_archive_give_the_same_package(home: Path) -> None:
    assert main(["mkcpio", "appdir", "root.cpio"]) == 0
    assert main(["package", "root.cpio", "private.pem", "config.json", "-o", "first"]) == 0
    assert main(["package-sgx", *ARGUMENTS, "--outfile=second"]) == 0
    assert (home / "first").read_bytes() == (home / "second").read_bytes()


def test_an_archive_is_not_overwritten_with_its_package(home: Path) -> None:
    assert main(["mkcpio", "appdir", "app"]) == 0
    archive = (home / "app").read_bytes()
    assert main(["package-sgx", "app", "private.pem", "config.json"]) == 2
    assert (home / "app").read_bytes() == archive


def test_one_line_tells_the_measurement(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["package-sgx", *ARGUMENTS]) == 0
    mrenclave = unpack(home / "app").sigstruct.enclave_hash.hex()
    assert capsys.readouterr() == (f"app: new package, MRENCLAVE {mrenclave}\n", "")


def test_settings_that_weaken_security_are_warned_of(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "config.json").write_text('{"ApplicationPath": "/bin/app", "Debug": 1}')
    assert main(["package-sgx", *ARGUMENTS]) == 0
    assert "myst: warning: config.json:1:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "epoch", "expected"),
    [
        ([], None, 0x19800101),
        ([], "1800000000", 0x20270115),
        (["--date", "2026-11-23"], "1800000000", 0x20261123),
    ],
)
def test_the_date_is_the_options_or_the_epochs_or_fixed(
    home: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], epoch: str | None, expected: int
) -> None:
    if epoch:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    assert main(["package-sgx", *ARGUMENTS, *options]) == 0
    assert unpack(home / "app").sigstruct.date == expected


def test_an_existing_package_is_replaced(home: Path) -> None:
    (home / "app").write_text("old")
    assert main(["package-sgx", *ARGUMENTS]) == 0
    assert main(["verify", "app"]) == 0


BAD_USAGE: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "expected APPDIR KEY CONFIG"),
    "one file": (["appdir"], "expected APPDIR KEY CONFIG"),
    "four files": ([*ARGUMENTS, "more"], "expected APPDIR KEY CONFIG"),
    "no application directory": (["private.pem", "config.json"], "not built yet"),
    "a root hash": ([*ARGUMENTS, "--roothash=x"], "not built yet"),
    "a disk key": ([*ARGUMENTS, "--pubkey=x"], "not built yet"),
    "unknown option": ([*ARGUMENTS, "--bogus"], "no such option"),
    "bad date": ([*ARGUMENTS, "--date=tomorrow"], "expected YYYY-MM-DD"),
    "absent directory": (["absent", "private.pem", "config.json"], "absent"),
    "absent key": (["appdir", "absent", "config.json"], "absent"),
    "absent config": (["appdir", "private.pem", "absent"], "absent: no such file"),
    "directory as config": (["appdir", "private.pem", "appdir"], "is a directory"),
    "config as key": (["appdir", "config.json", "config.json"], "config.json: mode 0644"),
    "key as config": (["appdir", "private.pem", "private.pem"], "private.pem:1:1"),
    "config as directory": (["config.json", "private.pem", "config.json"], "config.json"),
    "output is a directory": ([*ARGUMENTS, "-o", "appdir"], "appdir"),
    "output in no directory": ([*ARGUMENTS, "-o", "absent/app"], "absent/app"),
    "output inside of the application": ([*ARGUMENTS, "-o", "appdir/app"], "inside the application"),
    "output is the config": ([*ARGUMENTS, "-o", "config.json"], "one of the inputs"),
    "output is the key": ([*ARGUMENTS, "-o", "./private.pem"], "one of the inputs"),
    "passphrase twice": ([*ARGUMENTS, "--passphrase-env=A", "--passphrase-fd=3"], "exclude each other"),
}


@pytest.mark.parametrize("mistake", BAD_USAGE)
def test_bad_usage_is_one_clear_message_and_no_file(
    home: Path, capsys: pytest.CaptureFixture[str], mistake: str
) -> None:
    arguments, told = BAD_USAGE[mistake]
    assert main(["package-sgx", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("myst: ")
    assert told in err
    assert names(home) == INPUTS


@pytest.mark.parametrize("epoch", ["x", "-99999999999999", "9" * 30])
def test_a_bad_epoch_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], epoch: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    assert main(["package-sgx", *ARGUMENTS]) == 2
    assert "SOURCE_DATE_EPOCH" in capsys.readouterr().err


def test_a_program_without_its_library_is_refused_by_its_name(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "appdir/bin/app").write_bytes(Path("/bin/true").read_bytes())
    assert main(["package-sgx", *ARGUMENTS]) == 2
    err = capsys.readouterr().err
    assert "libc.so.6, needed by /bin/app" in err
    assert names(home) == INPUTS


def test_an_incomplete_plugin_is_warned_of(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "appdir/bin/other").write_bytes(Path("/bin/true").read_bytes())
    assert main(["package-sgx", *ARGUMENTS]) == 0
    assert "lacks libc.so.6, needed by /bin/other" in capsys.readouterr().err


def test_a_missing_runtime_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(home)
    load = Runtime.load
    monkeypatch.setattr(Runtime, "load", lambda: load(home))
    assert main(["package-sgx", *ARGUMENTS]) == 2
    assert "myst-launcher: No such file or directory" in capsys.readouterr().err


def test_a_key_that_others_can_read_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "private.pem").chmod(0o644)
    assert main(["package-sgx", *ARGUMENTS]) == 2
    assert "private.pem" in capsys.readouterr().err
    assert names(home) == INPUTS


# A process of its own, so that limits and signals meet the real thing.
PACKAGE = """
import sys
from mystikos.cli import main
from mystikos.launcher import Runtime
from tests.support import packages
Runtime.load = packages.runtime
sys.exit(main(["package-sgx", "appdir", "private.pem", "config.json"]))
"""


def start(home: Path, **options: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", PACKAGE],
        cwd=home,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_full_disk_is_told_and_leaves_nothing(home: Path) -> None:
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    process = start(home, preexec_fn=small_files)
    _, err = process.communicate()
    assert process.returncode == 2
    assert err.startswith("myst: app: cannot be written (File too large)")
    assert names(home) == INPUTS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_interrupted_run_leaves_nothing(home: Path, number: signal.Signals) -> None:
    with (home / "appdir/large").open("wb") as large:
        large.truncate(3 << 30)
    process = start(home)
    _wait_for_output(process.pid)
    process.send_signal(number)
    process.communicate()
    assert process.returncode in (-number, 130)
    assert names(home) == INPUTS


def _wait_for_output(pid: int) -> None:
    """Until the process has written some of the package."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            name, _, count = line.partition(": ")
            if name == "wchar" and int(count) > 50_000_000:
                return
        time.sleep(0.01)
    raise AssertionError("nothing was written within 30 seconds")


# VmHWM and not ru_maxrss, which knows the memory of the process that forked this one, too.
MEASURED = (
    PACKAGE.replace("sys.exit(", "assert 0 == (")
    + """
import re
print(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""
)


def test_memory_does_not_grow_with_the_application(home: Path) -> None:
    with (home / "appdir/large").open("wb") as large:
        large.truncate(400 << 20)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
        check=True,
    )
    assert int(done.stdout.split()[-1]) < 150 << 10
    assert (home / "app").stat().st_size > 400 << 20


def test_verify_tells_identities_and_checks(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["package-sgx", *ARGUMENTS])
    capsys.readouterr()
    assert main(["verify", "app", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is True
    assert (report["product_id"], report["security_version"], report["debug"]) == (1, 1, False)
    assert {check["name"] for check in report["checks"]} >= {"measurement", "signature", "signer", "layout"}
    assert main(["verify", "app"]) == 0
    text = capsys.readouterr().out
    assert report["mrenclave"] in text
    assert text.endswith("app is what it says it is\n")


def test_verify_answers_no_with_exit_code_1(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["package-sgx", *ARGUMENTS])
    forge = packages.PackageForge.of(home / "app")
    forge.flip(packages.Section.ROOTFS, 4000).write(home)
    capsys.readouterr()
    assert main(["verify", "forged"]) == 1
    assert "FAIL  measurement: MRENCLAVE is" in capsys.readouterr().out


def test_verify_of_no_package_is_exit_code_2(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "program").write_bytes(elves.application())
    for name in ("program", "config.json", "absent", "appdir"):
        assert main(["verify", name]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"myst: {name}: ")
