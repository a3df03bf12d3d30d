"""Makes CPython's cached bytecode good for a package, where every file's modification time is 0.

CPython takes a cached file only if it records its source's modification time, so in a package every start
would compile every module again. Bytecode marked "unchecked hash" (PEP 552) is taken as it is: the source
beside it is measured as well, and cannot change. This machine's own cached files are reused where they
fit, with a new header; the rest is compiled, when this Python makes the same bytecode as that one.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from mystikos.collect.copying import Copier, Keep
from mystikos.collect.python import Python
from mystikos.errors import CollectError

__all__ = ["settle"]

_HEADER = 16
_UNCHECKED_HASH = (1).to_bytes(4, "little")

# Run with a fixed hash seed in a process of its own: then the bytecode is the same every time.
_COMPILE = """
import py_compile, sys
names = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\\0")
for source, shown, target in zip(names[::3], names[1::3], names[2::3]):
    py_compile.compile(source, target, shown, quiet=2,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


def settle(copier: Copier, python: Python, keep: Keep) -> list[str]:
    """Give every ``.py`` file of the new tree that *keep* selects bytecode for *python*; return warnings."""
    magic = _magic(python)
    sources = _sources(copier, keep)
    stale = []
    for path, source in sources.items():
        content = _reusable(source, python, magic)
        if content is None:
            stale.append(path)
        else:
            _write(copier, path, python, content)

    if not stale:
        return []
    if magic == importlib.util.MAGIC_NUMBER:
        _compile(copier, python, stale)
        return []
    return [
        f"{len(stale)} Python files have no bytecode that fits, and are compiled at each start: "
        f"run `python3.{python.minor} -m compileall` on them, or run myst with Python 3.{python.minor}"
    ]


def _sources(copier: Copier, keep: Keep) -> dict[bytes, bytes]:
    """The modules of the new tree, each with its source on this machine; bytecode lies beside a link, too."""
    modules = {path: path for path in copier.files} | {path: copier.inside(path) for path in copier.links}
    return {
        path: copier.files[real].source
        for path, real in sorted(modules.items())
        if path.endswith(b".py") and real in copier.files and keep(path)
    }


def _magic(python: Python) -> bytes | None:
    """The magic number of *python*'s bytecode, from its own library; or this Python's, if they are alike."""
    for name in (b"os", b"abc", b"codecs", b"io"):
        try:
            with open(_cached(os.path.join(python.library, name + b".py"), python), "rb") as file:
                return file.read(4)
        except OSError:
            continue
    alike = sys.implementation.name == "cpython" and sys.version_info[:2] == (3, python.minor)
    return importlib.util.MAGIC_NUMBER if alike else None


def _cached(source: bytes, python: Python) -> bytes:
    folder, name = os.path.split(source)
    return os.path.join(folder, b"__pycache__", os.path.splitext(name)[0] + b"." + python.tag + b".pyc")


def _reusable(source: bytes, python: Python, magic: bytes | None) -> bytes | None:
    """The cached bytecode of *source* on this machine, with its new header, if it is up to date."""
    try:
        with open(_cached(source, python), "rb") as file:
            cached = file.read()
        status = os.stat(source)
        with open(source, "rb") as file:
            source_hash = importlib.util.source_hash(file.read())
    except OSError:
        return None
    if len(cached) <= _HEADER or cached[:4] != magic:
        return None
    flags, stamp = cached[4:8], cached[8:16]
    if flags == bytes(4):
        fresh = stamp == _four(int(status.st_mtime)) + _four(status.st_size)
    else:
        fresh = stamp == source_hash
    return cached[:4] + _UNCHECKED_HASH + source_hash + cached[_HEADER:] if fresh else None


def _four(number: int) -> bytes:
    return (number & 0xFFFF_FFFF).to_bytes(4, "little")


def _write(copier: Copier, path: bytes, python: Python, content: bytes) -> None:
    cached = _cached(path, python)
    copier.add_directory(os.path.dirname(cached), 0o755)
    copier.add_content(cached, content)


def _compile(copier: Copier, python: Python, paths: Iterable[bytes]) -> None:
    """Compile *paths* in one go. A file that does not compile could not be imported anyway."""
    with tempfile.TemporaryDirectory() as folder:
        targets = {path: os.path.join(os.fsencode(folder), b"%d.pyc" % n) for n, path in enumerate(paths)}
        names = [name for path in targets for name in (copier.root + path, path, targets[path])]
        try:
            subprocess.run(
                [sys.executable, "-B", "-S", "-s", "-W", "ignore", "-c", _COMPILE],
                input=b"\0".join(names),
                env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise CollectError("Python bytecode", f"compiling failed ({error})") from error
        for path, target in targets.items():
            compiled = Path(os.fsdecode(target))
            if compiled.exists():
                _write(copier, path, python, compiled.read_bytes())
