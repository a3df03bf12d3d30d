"""A collected CPython finds its standard library, and its bytecode is good in a package."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.programs import run_inside

from mystikos.collect import Choice, Collected, bytecode, collect
from mystikos.collect.python import _CORE, _MINIMAL_MODULES, Python, detect

_SYSTEM = "/usr/bin/python3"
_UNCHECKED = (1).to_bytes(4, "little")

pytestmark = pytest.mark.skipif(not Path(_SYSTEM).exists(), reason="no Python in /usr/bin")


def _collect(output: Path, choice: Choice) -> Collected:
    done = collect([_SYSTEM], output, python=choice)
    for path in output.rglob("*.py"):
        os.utime(path, (0, 0), follow_symlinks=False)  # as in a package
    return done


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("python") / "standard"
    _collect(output, Choice.STANDARD)
    return output


@pytest.fixture(scope="module")
def minimal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("python") / "minimal"
    _collect(output, Choice.MINIMAL)
    return output


def _library(root: Path) -> Path:
    (library,) = (path.parent for path in root.glob("usr/lib*/python3.*/os.py"))
    return library


def test_the_standard_library_works_without_the_rest_of_the_machine(standard: Path) -> None:
    script = (
        "import asyncio, bz2, ctypes, decimal, hashlib, json, lzma, re, sqlite3, ssl, sys, unittest, zlib;"
        "print(sqlite3.connect(':memory:').execute('select 6 * 7').fetchone()[0], sys.prefix)"
    )
    assert run_inside(standard, _SYSTEM, "-c", script).stdout == "42 /usr\n"


def test_test_suites_and_graphics_stay_behind(standard: Path) -> None:
    library = _library(standard)
    for name in ("test", "idlelib", "tkinter", "ensurepip", "unittest/test", "__pycache__/turtle"):
        assert not (library / name).exists()
    assert not list(library.glob("lib-dynload/_test*"))


def test_every_module_of_the_minimal_library_can_be_imported(minimal: Path) -> None:
    library = _library(minimal)
    names = [
        name.removesuffix("/__init__").replace("/", ".")
        for name in sorted(_MINIMAL_MODULES)
        if (library / f"{name}.py").exists()
    ]
    assert len(names) > 60
    script = f"for name in {names!r}: __import__(name)\nimport json, re, collections.abc, encodings.idna"

    run_inside(minimal, _SYSTEM, "-c", script)


def test_the_smallest_choice_starts_python(tmp_path: Path) -> None:
    _collect(tmp_path / "core", Choice.CORE)

    run = run_inside(tmp_path / "core", _SYSTEM, "-c", "print(1)")

    assert (run.stdout, run.stderr) == ("1\n", "")
    modules = {
        str(p.relative_to(_library(tmp_path / "core"))) for p in _library(tmp_path / "core").rglob("*.py")
    }
    assert modules <= {f"{name}.py" for name in _CORE}


def test_no_module_is_compiled_at_a_start(minimal: Path) -> None:
    script = "import argparse, dataclasses, json, logging, subprocess, urllib.parse"
    told = run_inside(minimal, _SYSTEM, "-v", "-c", script).stderr

    loaded = re.findall(r"^# code object from '?([^'\n]+)", told, re.MULTILINE)
    assert len(loaded) > 15
    assert [path for path in loaded if not path.endswith(".pyc")] == []


def test_bytecode_is_marked_as_not_to_be_checked(minimal: Path) -> None:
    cached = list(_library(minimal).rglob("*.pyc"))

    assert len(cached) == len(list(_library(minimal).rglob("*.py")))
    assert {path.read_bytes()[4:8] for path in cached} == {_UNCHECKED}


def test_nothing_of_a_python_can_be_brought_too(tmp_path: Path) -> None:
    done = collect([_SYSTEM], tmp_path / "none", python=Choice.NONE)

    assert done.pythons == ()
    assert not list((tmp_path / "none").rglob("os.py"))


def test_a_script_for_python_brings_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(f"#!{_SYSTEM}\nimport json\nprint(json.dumps([1]))\n")
    (tmp_path / "app.py").chmod(0o755)

    collect(["./app.py"], tmp_path / "appdir", python=Choice.MINIMAL)

    assert run_inside(tmp_path / "appdir", "/bin/app.py").stdout == "[1]\n"
    assert not list((tmp_path / "appdir").glob("**/bin/__pycache__"))


def test_a_virtual_environment_brings_its_packages(tmp_path: Path) -> None:
    subprocess.run([_SYSTEM, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv").glob("lib/python3.*/site-packages")
    (packages / "mine.py").write_text("answer = 42\n")
    python = str(tmp_path / "venv/bin/python")

    collect([python], tmp_path / "appdir", python=Choice.MINIMAL)

    assert run_inside(tmp_path / "appdir", python, "-c", "import mine; print(mine.answer)").stdout == "42\n"


def test_included_packages_get_bytecode_without_that_of_this_machine(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n")
    (package / "broken.py").write_text("def (\n")
    (package / "__pycache__/old.cpython-36.pyc").write_bytes(b"old")

    done = collect([_SYSTEM], tmp_path / "appdir", include=[f"{package}=/srv/package"], python=Choice.CORE)

    made = sorted(path.name for path in (tmp_path / "appdir/srv/package/__pycache__").glob("*"))
    minor = done.pythons[0].minor
    if sys.version_info[:2] == (3, minor):
        assert made == [f"__init__.cpython-3{minor}.pyc"]
    else:
        assert "have no bytecode that fits" in done.warnings[0]


@pytest.mark.parametrize("state", ["fresh", "stale by time", "stale by size", "checked hash", "wrong hash"])
def test_bytecode_of_this_machine_is_reused_only_while_it_fits(tmp_path: Path, state: str) -> None:
    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    python = Python(sys.version_info.minor, os.fsencode(tmp_path))
    status = source.stat()
    content = source.read_bytes()
    stamp = int(status.st_mtime).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    header = {
        "fresh": bytes(4) + stamp,
        "stale by time": bytes(4) + bytes(4) + stamp[4:],
        "stale by size": bytes(4) + stamp[:4] + bytes(4),
        "checked hash": (3).to_bytes(4, "little") + importlib.util.source_hash(content),
        "wrong hash": _UNCHECKED + bytes(8),
    }[state]
    (tmp_path / "__pycache__").mkdir()
    cached = tmp_path / f"__pycache__/module.cpython-3{python.minor}.pyc"
    cached.write_bytes(importlib.util.MAGIC_NUMBER + header + b"code")

    reused = bytecode._reusable(os.fsencode(source), python, importlib.util.MAGIC_NUMBER)

    wanted = importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(content) + b"code"
    assert reused == (wanted if state in ("fresh", "checked hash") else None)


def test_the_library_is_found_as_cpython_does(tmp_path: Path) -> None:
    for name in ("usr/lib/python3.10", "usr/local/lib/python3.12", "usr/lib/x86_64-linux-gnu"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "os.py").touch()
    root = os.fsencode(tmp_path)

    def found(program: bytes, *libraries: bytes) -> bytes | None:
        python = detect(root + program, [root + path for path in libraries])
        return python.library.removeprefix(root) if python else None

    assert found(b"/usr/bin/python3.10") == b"/usr/lib/python3.10"
    assert found(b"/usr/local/bin/python3.12") == b"/usr/local/lib/python3.12"
    assert found(b"/usr/bin/python3") == b"/usr/lib/python3.10"
    assert found(b"/usr/bin/python3.9") is None
    assert found(b"/usr/bin/gdb") is None
    embedded = b"/usr/lib/x86_64-linux-gnu/libpython3.10.so.1.0"
    assert found(b"/opt/gdb", embedded) == b"/usr/lib/python3.10"
    assert found(b"/usr/bin/pythonista-tool") is None
