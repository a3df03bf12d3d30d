"""Finds the standard library of a CPython interpreter, and chooses what of it to bring.

The library is looked for as CPython's own getpath does: from the program's directory upwards, the first
``lib/python3.X`` with an ``os.py``.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from mystikos.collect.copying import Keep

__all__ = ["Choice", "Python", "detect", "keep_library", "virtual_environment"]

_PROGRAM = re.compile(rb"python(?:(3)(?:\.(\d+))?)?[a-z]*$")
_LIBRARY = re.compile(rb"libpython3\.(\d+)[a-z]*\.so")


class Choice(Enum):
    """How much of the standard library to bring."""

    STANDARD = "standard"  # all but test suites, graphics and tools for developing
    MINIMAL = "minimal"  # what small scripts import
    CORE = "core"  # what the interpreter itself imports to start
    FULL = "full"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Python:
    """A CPython: its minor version and the directory of its standard library."""

    minor: int
    library: bytes

    @property
    def tag(self) -> bytes:
        """The part of a cached bytecode file's name that tells the interpreter."""
        return b"cpython-3%d" % self.minor


def detect(program: bytes, libraries: Iterable[bytes]) -> Python | None:
    """The CPython that the program with the real path *program* is, or embeds through *libraries*."""
    named = _PROGRAM.match(os.path.basename(program))
    shared = [(path, match) for path in libraries if (match := _LIBRARY.match(os.path.basename(path)))]
    minors = {int(match[1]) for _, match in shared}
    if named and named[2]:
        minors.add(int(named[2]))
    if not named and not shared:
        return None
    for start in [program, *(path for path, _ in shared)]:
        for library in _landmarks(os.path.dirname(start)):
            minor = int(library.rpartition(b".")[2])
            if not minors or minor in minors:
                return Python(minor, library)
    return None


def _landmarks(folder: bytes) -> Iterator[bytes]:
    """The library directories above *folder*, nearest first."""
    while True:
        for name in (b"lib", b"lib64"):
            for path in sorted(glob.glob(os.path.join(glob.escape(folder), name, b"python3.*", b"os.py"))):
                if re.search(rb"/python3\.\d+/os\.py$", path):
                    yield os.path.dirname(path)
        if folder in (b"/", b""):
            return
        folder = os.path.dirname(folder)


def virtual_environment(program: bytes) -> bytes | None:
    """The virtual environment that *program* (a path not yet resolved) belongs to."""
    folder = os.path.dirname(program)
    for home in (folder, os.path.dirname(folder)):
        if os.path.isfile(os.path.join(home, b"pyvenv.cfg")):
            return home
    return None


def keep_library(library: bytes, choice: Choice) -> Keep:
    """Which paths below *library* (as they will be inside) to bring."""

    def keep(path: bytes) -> bool:
        inner = os.fsdecode(path[len(library) + 1 :])
        if _matches(inner, _NEVER):
            return False
        if choice is Choice.CORE:
            return inner.removesuffix(".py") in _CORE
        if choice is Choice.MINIMAL:
            return _is_minimal(inner)
        return choice is Choice.FULL or not _matches(inner, _NOT_STANDARD)

    return keep


def _matches(inner: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(inner, pattern) for pattern in patterns)


def _is_minimal(inner: str) -> bool:
    folder, _, name = inner.partition("/")
    if folder == "lib-dynload":
        return not name or name.partition(".")[0] in _MINIMAL_EXTENSIONS
    if folder == "encodings":
        return not name or name.removesuffix(".py") in _MINIMAL_ENCODINGS
    return folder in _MINIMAL_PACKAGES or inner.removesuffix(".py") in _MINIMAL_MODULES


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Third-party packages are asked for with --include; cached bytecode is made anew.
_NEVER = ("site-packages", "dist-packages", "__pycache__", "*/__pycache__")

_NOT_STANDARD = (
    "test", "*/test", "*/tests", "*/idle_test",  # test suites
    "lib-dynload/_test*", "lib-dynload/_ctypes_test*", "lib-dynload/_xx*", "lib-dynload/xx*",
    "idlelib", "tkinter", "turtledemo", "turtle.py", "lib-dynload/_tkinter*",  # graphics
    "ensurepip", "lib2to3", "pydoc_data", "venv",  # for developing
    "config-3.*",  # for linking the interpreter into other programs
    "lib-dynload/nis.*", "lib-dynload/ossaudiodev.*",  # obsolete, with many libraries
)  # fmt: skip

# Most of these are frozen into the interpreter since 3.11; their sources serve tracebacks. CPython complains
# when lib-dynload is not there.
_CORE = _words(
    """
    _collections_abc _sitebuiltins abc codecs encodings encodings/__init__ encodings/aliases encodings/ascii
    encodings/latin_1 encodings/utf_8 genericpath io lib-dynload os posixpath site sitecustomize stat
    """
)

_MINIMAL_PACKAGES = frozenset({"collections", "importlib", "json", "re"})

_MINIMAL_MODULES = _words(
    """
    __future__ _collections_abc _compat_pickle _compression _py_abc _sitebuiltins _strptime
    _threading_local _weakrefset abc argparse ast base64 bisect calendar codecs contextlib contextvars
    copy copyreg csv dataclasses datetime decimal dis enum fnmatch fractions functools genericpath
    getopt gettext glob hashlib heapq hmac inspect io ipaddress keyword linecache locale logging
    logging/__init__ numbers opcode operator os pathlib pickle platform posixpath pprint queue random
    reprlib runpy secrets selectors shutil signal site sitecustomize socket sre_compile sre_constants
    sre_parse stat statistics string stringprep struct subprocess tempfile textwrap threading token
    tokenize traceback types typing urllib urllib/__init__ urllib/parse uuid warnings weakref zipimport
    """
)

_MINIMAL_ENCODINGS = _words(
    """
    __init__ aliases ascii base64_codec charmap cp1252 cp437 hex_codec idna iso8859_1 iso8859_15 latin_1
    punycode raw_unicode_escape undefined unicode_escape utf_16 utf_16_be utf_16_le utf_32 utf_32_be
    utf_32_le utf_7 utf_8 utf_8_sig zlib_codec
    """
)

# Those that other interpreters than Debian's do not have built in, and that need no libraries of their own.
_MINIMAL_EXTENSIONS = _words(
    """
    _bisect _blake2 _contextvars _csv _datetime _decimal _heapq _json _md5 _opcode _pickle
    _posixsubprocess _queue _random _sha1 _sha2 _sha256 _sha3 _sha512 _socket _statistics _struct
    _typing array binascii cmath fcntl grp math select unicodedata zlib
    """
)
