"""The same inputs give the same bytes: real programs and the real runtime, and all around them different."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mystikos.cli import main
from mystikos.package import unpack
from tests.support.running import compiled

ROOT = Path(__file__).resolve().parents[2]
SITE_PACKAGES = [path for path in sys.path if path.endswith("site-packages")]
OTHER_PYTHON = Path(os.environ.get("OTHER_PYTHON", ROOT / ".venv-other/bin/python"))
SYSTEM_PYTHON = Path("/usr/bin/python3")
NOBODY = 65534
CONFIG = '{"ApplicationPath": "/bin/probe", "MemorySize": "2m", "Debug": true, "Hostname": "reproduced"}'


def fill(root: Path, names: list[str]) -> None:
    """Programs, links and odd entries; made in the order of ``names``."""
    for folder in ("bin", "etc/empty", "usr/lib/deep/deeper"):
        (root / folder).mkdir(parents=True)
    for name in names:
        (root / "etc" / name).write_text(name * 100)
    for program in (compiled("probe.c", "-static"), compiled("probe.c", "-static", "-O1")):
        target = root / ("bin/probe" if not (root / "bin/probe").exists() else "usr/lib/probe")
        shutil.copy(program, target)
        target.chmod(0o755)
    (root / "usr/lib/linked").hardlink_to(root / "bin/probe")
    (root / "lib").symlink_to("usr/lib")
    (root / "etc/set-id").write_text("x")
    (root / "etc/set-id").chmod(0o4750)
    (root / os.fsdecode(b"etc/\xff odd\n")).write_text("x")
    for path in [root, *root.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
        elif not path.is_symlink() and path.name not in ("probe", "linked", "set-id"):
            path.chmod(0o644)


NAMES = [f"file-{number}" for number in range(50)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, probe_appdir: Path) -> Path:
    """A directory with appdir, private.pem, config.json and a package of them, ``reference``."""
    home = tmp_path_factory.mktemp("inputs")
    fill(home / "appdir", NAMES)
    (home / "config.json").write_text(CONFIG)
    myst(home, "keygen", "private.pem")
    package(home, home / "reference")
    return home


def myst(
    cwd: Path, *arguments: str | Path, python: Path | None = None, prefix: tuple[str, ...] = (), **how: object
) -> None:
    """Run a verb in a process of its own, of this Python or of another one."""
    own = python is None
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *(SITE_PACKAGES if own else [])]),
        **how.pop("env", {}),  # type: ignore[dict-item]
    }
    command = [*prefix, str(python or sys.executable), "-m", "mystikos", *map(str, arguments)]
    done = subprocess.run(  # type: ignore[call-overload]
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, **how
    )
    assert done.returncode == 0, done.stderr


def package(home: Path, output: Path, *options: str, appdir: Path | None = None, **how: object) -> bytes:
    """The bytes of a package of what is in ``home``."""
    files = (appdir or home / "appdir", home / "private.pem", home / "config.json")
    myst(home, "package-sgx", *files, "-o", output, *options, **how)  # type: ignore[arg-type]
    return output.read_bytes()


def packed(source: Path, home: Path) -> Path:
    """Through a tar archive, as a release of sources travels; hard links and modes survive it."""
    with tarfile.open(home / "tree.tar", "w") as archive:
        archive.add(source, "tree")
    with tarfile.open(home / "tree.tar") as archive:
        archive.extractall(home, filter="fully_trusted")
    return home / "tree"


def filled_backwards(_source: Path, home: Path) -> Path:
    fill(home / "backwards", NAMES[::-1])
    return home / "backwards"


def old(source: Path, home: Path) -> Path:
    tree = packed(source, home)
    for path in [*tree.rglob("*"), tree]:
        os.utime(path, (0, 0), follow_symlinks=False)
    return tree


def with_holes(source: Path, home: Path) -> Path:
    tree = packed(source, home)
    for path in tree.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size > 4096:
            mode, content = path.stat().st_mode, path.read_bytes()
            with path.open("r+b") as file:
                file.truncate(0)
                file.truncate(len(content))
                for at in range(0, len(content), 4096):
                    if any(content[at : at + 4096]):
                        file.seek(at)
                        file.write(content[at : at + 4096])
            path.chmod(mode)
    return tree


def with_attributes(source: Path, home: Path) -> Path:
    tree = packed(source, home)
    try:
        for path in [tree, tree / "bin/probe"]:
            os.setxattr(path, "user.comment", b"x")
    except OSError as error:
        pytest.skip(f"the file system has no extended attributes ({error})")
    return tree


def archived(source: Path, home: Path) -> Path:
    myst(home, "mkcpio", source, "tree.cpio")
    return home / "tree.cpio"


def archived_by_gnu_cpio(source: Path, home: Path) -> Path:
    names = subprocess.run(["find", ".", "-print0"], cwd=source, check=True, capture_output=True).stdout
    backwards = b"\0".join([b".", *sorted(names.split(b"\0")[1:-1])]) + b"\0"
    command = ["cpio", "-o", "-0", "-H", "newc", "--quiet", "-F", str(home / "gnu.cpio")]
    subprocess.run(command, cwd=source, input=backwards, check=True)
    return home / "gnu.cpio"


COPIES: dict[str, Callable[[Path, Path], Path]] = {
    "through tar": packed,
    "made in another order": filled_backwards,
    "with other times": old,
    "with holes": with_holes,
    "with extended attributes": with_attributes,
    "as an archive": archived,
    "as an archive of GNU cpio": archived_by_gnu_cpio,
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_of_a_directory_give_the_same_package(inputs: Path, tmp_path: Path, copy: str) -> None:
    tree = COPIES[copy](inputs / "appdir", tmp_path)
    assert package(inputs, tmp_path / "again", appdir=tree) == (inputs / "reference").read_bytes()


def test_modes_and_hard_links_count_and_diff_names_them(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a umask of 077 leaves, a directory with set-group-ID, and a copy that knows no hard links."""
    tree = packed(inputs / "appdir", tmp_path)
    (tree / "etc/file-1").chmod(0o600)
    (tree / "etc").chmod(0o2755)
    content = (tree / "usr/lib/linked").read_bytes()
    (tree / "usr/lib/linked").unlink()
    (tree / "usr/lib/linked").write_bytes(content)
    (tree / "usr/lib/linked").chmod(0o755)

    assert package(inputs, tmp_path / "again", appdir=tree) != (inputs / "reference").read_bytes()
    assert main(["diff", str(inputs / "appdir"), str(tree)]) == 1
    told = capsys.readouterr().out
    assert "etc/file-1: mode -rw-r--r-- → -rw-------" in told
    assert "etc: mode drwxr-xr-x → drwxr-sr-x" in told
    assert "usr/lib/linked" in told


SURROUNDINGS: dict[str, dict[str, object]] = {
    "umask 077": {"umask": 0o077},
    "umask 000": {"umask": 0},
    "Tokyo": {"env": {"TZ": "Asia/Tokyo"}},
    "a locale of UTF-8": {"env": {"LC_ALL": "C.UTF-8", "LANG": "de_DE.UTF-8", "LANGUAGE": "de"}},
    "no locale": {"env": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}},
    "one hash seed": {"env": {"PYTHONHASHSEED": "1"}},
    "another hash seed": {"env": {"PYTHONHASHSEED": "4294967295"}},
    "optimised Python": {"env": {"PYTHONOPTIMIZE": "2"}},
    "another home and user name": {"env": {"HOME": "/nonexistent", "USER": "x", "LOGNAME": "x"}},
    "a terminal's variables": {"env": {"COLUMNS": "40", "TERM": "dumb", "FORCE_COLOR": "1"}},
    "limits": {"preexec_fn": lambda: os.nice(5)},
}


@pytest.mark.parametrize("what", SURROUNDINGS)
def test_surroundings_do_not_change_the_bytes(inputs: Path, tmp_path: Path, what: str) -> None:
    assert package(inputs, tmp_path / "again", **SURROUNDINGS[what]) == (inputs / "reference").read_bytes()


def test_where_it_is_started_and_how_files_are_named_do_not_matter(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(inputs)
    command = ("../link/appdir", "../link/private.pem", "../link/config.json", "-o", "../again")
    (tmp_path / "here").mkdir()
    myst(tmp_path / "here", "package-sgx", *command)
    assert (tmp_path / "again").read_bytes() == (inputs / "reference").read_bytes()


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory on a file system that is none of a disk."""
    home = Path("/dev/shm")
    if not os.access(home, os.W_OK):
        pytest.skip("no writable /dev/shm")
    place = home / f"mystikos-test-{os.getpid()}"
    place.mkdir()
    yield place
    shutil.rmtree(place)


def test_another_file_system_gives_the_same_package(inputs: Path, memory: Path) -> None:
    if memory.stat().st_dev == inputs.stat().st_dev:
        pytest.skip("temporary files are in /dev/shm as well")
    tree = packed(inputs / "appdir", memory)
    assert package(inputs, memory / "again", appdir=tree) == (inputs / "reference").read_bytes()


def test_another_user_sees_other_owners_and_makes_the_same_package(inputs: Path, tmp_path: Path) -> None:
    prefix = ("unshare", "--user", "--map-user=1234")
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine allows no user namespaces")
    assert package(inputs, tmp_path / "again", prefix=prefix) == (inputs / "reference").read_bytes()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_user_without_privileges_makes_the_same_package(inputs: Path, tmp_path: Path) -> None:
    """With the system's Python, which everybody can start, and copies of what is nobody's to read."""
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *SITE_PACKAGES])}
    nobody: dict[str, object] = {"user": NOBODY, "group": NOBODY}
    probe = [str(SYSTEM_PYTHON), "-c", "import mystikos.pipeline"]
    if subprocess.run(probe, env=env, cwd="/", capture_output=True, **nobody).returncode:  # type: ignore[call-overload]
        pytest.skip("nobody cannot read this checkout, or the system's Python is another version")

    home = Path("/var/tmp") / f"mystikos-test-{os.getpid()}"
    home.mkdir()
    try:
        tree = packed(inputs / "appdir", home)
        for name in ("private.pem", "config.json"):
            shutil.copy(inputs / name, home / name)
        for path in [home, *home.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        (tree / "etc/set-id").chmod(0o4750)  # chown(2) takes set-ID bits away
        again = package(home, home / "again", appdir=tree, python=SYSTEM_PYTHON, env=env, **nobody)
    finally:
        shutil.rmtree(home)
    assert again == (inputs / "reference").read_bytes()


def test_another_version_of_python_makes_the_same_package(inputs: Path, tmp_path: Path) -> None:
    if not OTHER_PYTHON.exists():
        pytest.skip("no .venv-other: `make .venv-other/.ready` makes it where there is another Python")
    version = [OTHER_PYTHON, "-c", "import sys; print(sys.version_info[:2])"]
    told = subprocess.run(version, check=True, capture_output=True, text=True).stdout
    assert told != f"{sys.version_info[:2]}\n"
    assert package(inputs, tmp_path / "again", python=OTHER_PYTHON) == (inputs / "reference").read_bytes()


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_epoch_and_the_date_of_that_day_are_the_same_wherever_one_is(
    inputs: Path, tmp_path: Path, zone: str
) -> None:
    dated = package(inputs, tmp_path / "dated", "--date=2027-01-15")
    epoch = {"SOURCE_DATE_EPOCH": "1800000000", "TZ": zone}
    assert package(inputs, tmp_path / "epoch", env=epoch) == dated
    assert dated != (inputs / "reference").read_bytes()
    measured = [unpack(path).sigstruct.enclave_hash for path in (tmp_path / "dated", inputs / "reference")]
    assert measured[0] == measured[1]


def test_the_parts_of_a_package_make_it_again(inputs: Path, tmp_path: Path) -> None:
    myst(tmp_path, "extract", inputs / "reference", "-o", "parts", "--keep-setuid")
    files = ("parts/rootfs", inputs / "private.pem", "parts/config.json")
    myst(tmp_path, "package-sgx", *files, "-o", "again")
    assert (tmp_path / "again").read_bytes() == (inputs / "reference").read_bytes()
    myst(tmp_path, "verify", inputs / "reference", "--rebuild", "--appdir", inputs / "appdir")


def test_a_signed_directory_and_an_attached_signature_are_the_same_bytes(
    inputs: Path, tmp_path: Path
) -> None:
    key, app = inputs / "private.pem", (inputs / "appdir", inputs / "config.json")
    myst(tmp_path, "sign-sgx", app[0], key, app[1], "-d", "signed")
    assert (tmp_path / "signed/bin/probe").read_bytes() == (inputs / "reference").read_bytes()


def test_the_package_tells_nothing_of_where_and_by_whom_it_was_made(inputs: Path) -> None:
    data = (inputs / "reference").read_bytes()
    for secret in (str(inputs), str(ROOT), f"{Path.home()}/", sys.version.split()[0]):
        assert secret.encode() not in data, secret
