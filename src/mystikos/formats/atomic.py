"""Leaf: outputs that appear whole or not at all.

A file is written without a name (``O_TMPFILE``), so that even ``kill -9`` leaves nothing; where the file
system cannot do that, under a temporary name in the same directory. A directory is filled as a temporary
sibling. Either is moved into place at the end of the ``with`` block, and is gone if the block fails or is
interrupted by SIGINT, SIGTERM or SIGHUP. What ``kill -9`` leaves of it, the next run with the same output
removes: a temporary name tells whose it is, and a lock (flock(2)) that its run is still alive.

>>> import tempfile
>>> home = Path(tempfile.mkdtemp())
>>> with atomic_output(home / "package", 0o755) as file:
...     _ = file.write(b"all of it")
>>> (home / "package").read_bytes()
b'all of it'
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import io
import logging
import os
import re
import secrets
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from mystikos.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["atomic_directory", "atomic_output", "output_error", "refuse_inside", "write_new"]

_LOG = logging.getLogger(__name__)
_BUFFER = 1 << 20
_NO_TMPFILE = frozenset(
    {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
)  # see open(2), O_TMPFILE
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OUTPUT_ONLY = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
)  # what only writing can raise


@contextmanager
def atomic_output(path: Path, mode: int = 0o644, *, shown: Path | None = None) -> Iterator[BinaryIO]:
    """A seekable file that becomes *path* (with *mode* less the umask) when the block ends well.

    An existing regular file is replaced; through a symbolic link, the file it points to is. Raises
    ``OutputError`` when *path* is anything else, or when writing fails (no space, no permission); it calls
    the file *shown*, where *path* is in a directory that is temporary itself.
    """
    target = _file_target(path)
    path = shown or path

    with _signals_as_exceptions():
        _remove_leftovers(target)
        with _output_errors(path):
            descriptor, temporary, unnamed = _open(target, mode)
        file = io.BufferedRandom(_OutputFile(descriptor, path), _BUFFER)
        try:
            with _output_errors(path, _OUTPUT_ONLY):
                yield file
            with _output_errors(path):
                file.flush()
                if unnamed:  # only rename(2) replaces what is there, and it wants a name
                    _name(descriptor, temporary)
                temporary.rename(target)
        finally:
            with suppress(Exception):  # a failed flush was told already
                file.close()
            os.close(descriptor)
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path, keep: Callable[[Path], str | None] | None = None) -> Iterator[Path]:
    """A new directory, next to *path*, that becomes *path* when the block ends well.

    *path* must be absent or an empty directory, or one of which *keep* tells no reason to keep it: that one
    is replaced in one step, where the file system can do so (renameat2(2)), and removed. The block may give
    the directory its final mode; it is made with 0777 less the umask. Raises ``OutputError``.
    """
    target = _directory_target(path, keep)

    with _signals_as_exceptions():
        _remove_leftovers(target)
        with _output_errors(path):
            temporary, lock = _make_directory(target)
        try:
            with _output_errors(path, _OUTPUT_ONLY):
                yield temporary
            with _output_errors(path):
                if keep is None:
                    temporary.rename(target)
                else:
                    _replace(temporary, target)
        except BaseException:
            _remove_tree(temporary)
            raise
        finally:
            os.close(lock)


class _OutputFile(io.FileIO):
    """The raw file: a failing write is an ``OutputError`` about the output, whoever calls it."""

    def __init__(self, descriptor: int, shown: Path) -> None:
        super().__init__(descriptor, "r+", closefd=False)
        self._shown = shown

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            raise output_error(self._shown, error) from error


def _file_target(path: Path) -> Path:
    target = Path(os.path.realpath(path))
    with _output_errors(path):
        found = _mode_of(target)
    if found is None or stat.S_ISREG(found):
        return target

    kind = "a directory" if stat.S_ISDIR(found) else "not a regular file"
    raise OutputError(str(path), f"is {kind}", expected="a file name", hint="name the file to write")


def _directory_target(path: Path, keep: Callable[[Path], str | None] | None) -> Path:
    target = Path(os.path.realpath(path))
    with _output_errors(path):
        found = _mode_of(target)
        if found is None:
            return target
        if not stat.S_ISDIR(found):
            raise OutputError(str(path), "exists and is not a directory", expected="a new or empty directory")
        if any(os.scandir(target)):
            reason = "is a directory with files in it" if keep is None else keep(target)
            if reason is not None:
                raise OutputError(
                    str(path),
                    reason,
                    expected="a new or empty directory",
                    hint="name a new directory, or remove this one first",
                )
        if Path(os.path.realpath("")).is_relative_to(target):
            raise OutputError(str(path), "is the working directory", expected="a new or empty directory")
    return target


def _replace(temporary: Path, target: Path) -> None:
    """Put a directory in the place of another one, if there is one, and remove that."""
    try:
        temporary.rename(target)  # of an empty one, too
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _exchange(temporary, target)
        _remove_tree(temporary)


def _exchange(one: Path, other: Path) -> None:
    """Let two directories change their names, at once if the file system can."""
    try:
        _rename_exchange(one, other)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            raise
        aside = _temporary_name(other)  # for a moment there is neither, but never half of one
        other.rename(aside)
        try:
            one.rename(other)
        except BaseException:
            aside.rename(other)
            raise
        aside.rename(one)


_AT_FDCWD, _RENAME_EXCHANGE, _SYS_RENAMEAT2 = -100, 2, 316  # fcntl.h, stdio.h, asm/unistd_64.h


def _rename_exchange(one: Path, other: Path) -> None:
    """renameat2(2), which Python does not offer, nor every C library."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    names = [ctypes.c_char_p(os.fsencode(path)) for path in (one, other)]
    at, flags, number = (
        ctypes.c_long(_AT_FDCWD),
        ctypes.c_long(_RENAME_EXCHANGE),
        ctypes.c_long(_SYS_RENAMEAT2),
    )
    if call(number, at, names[0], at, names[1], flags):
        reason = ctypes.get_errno()
        raise OSError(reason, os.strerror(reason), str(other))


def _mode_of(target: Path) -> int | None:
    try:
        return target.stat().st_mode
    except FileNotFoundError:
        return None


def _open(target: Path, mode: int) -> tuple[int, Path, bool]:
    """A new file beside *target*, locked; its temporary name, and whether it has yet to get that."""
    temporary = _temporary_name(target)
    if Path("/proc/self/fd").exists():  # an unnamed file gets its name through there
        try:
            unnamed = os.open(target.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
        else:
            _lock(unnamed)
            return unnamed, temporary, True
    while True:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode)
        if _claim(descriptor, temporary):
            return descriptor, temporary, False
        os.close(descriptor)
        temporary = _temporary_name(target)


def _make_directory(target: Path) -> tuple[Path, int]:
    """A new directory beside *target*, and the descriptor that holds its lock."""
    while True:
        temporary = _temporary_name(target)
        temporary.mkdir()
        try:
            lock = os.open(temporary, _DIRECTORY)
        except FileNotFoundError:  # another run took it for a leftover
            continue
        except BaseException:
            _remove_tree(temporary)
            raise
        if _claim(lock, temporary):
            return temporary, lock
        os.close(lock)


def _lock(descriptor: int) -> bool | None:
    """Whether this process has the lock of a file now; None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _claim(descriptor: int, path: Path) -> bool:
    """Lock a temporary that was just made; False if another run was faster and took it for a leftover.

    Without locks, nothing is ever taken for one.
    """
    locked = _lock(descriptor)
    return locked is None or (locked and _is_at(descriptor, path))


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _remove_leftovers(target: Path) -> None:
    """Remove what runs with the same output left when they were killed; a run that is alive has a lock on its
    own, and another user's is left alone.
    """
    pattern = re.compile(re.escape(_temporary_prefix(target)) + r"[0-9a-f]{16}\.tmp")
    try:
        if _others_can_rename(target.parent):
            return
        names = [entry.name for entry in os.scandir(target.parent) if pattern.fullmatch(entry.name)]
    except OSError:  # the caller will find out and tell
        return
    for name in sorted(names):
        with suppress(OSError):
            _remove_leftover(target.with_name(name))


def _remove_leftover(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or not _lock(descriptor) or not _is_at(descriptor, path):
            return
        if stat.S_ISDIR(status.st_mode):
            _remove_tree(path)
        elif stat.S_ISREG(status.st_mode):
            path.unlink()
    finally:
        os.close(descriptor)
    _LOG.info("removed what a killed run had left: %s", path)


def _others_can_rename(directory: Path) -> bool:
    """Whether anybody could give something of this user a temporary's name (no sticky bit)."""
    mode = directory.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def _name(descriptor: int, path: Path) -> None:
    """Give an unnamed file a name, as linkat(2) shows; without a ``dir_fd`` Python calls link(2) instead."""
    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)


def _temporary_name(target: Path) -> Path:
    return target.with_name(f"{_temporary_prefix(target)}{secrets.token_hex(8)}.tmp")


def _temporary_prefix(target: Path) -> str:
    """What the temporaries of one output have in common; the name itself may be too long to be a part."""
    return f".myst-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}-"


def _remove_tree(directory: Path) -> None:
    """Remove *directory*, whatever modes its directories were given, and whoever else is removing it."""
    if not directory.is_dir():
        return
    with suppress(FileNotFoundError):
        _allow_removal(os.fsencode(directory))
        for folder, names, _ in os.walk(os.fsencode(directory)):
            for name in names:
                _allow_removal(os.path.join(folder, name))  # noqa: PTH118 - names are bytes here
    shutil.rmtree(directory, ignore_errors=True)


def _allow_removal(path: bytes) -> None:
    mode = os.lstat(path).st_mode
    if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(path, stat.S_IRWXU)  # noqa: PTH101 - names are bytes here


@contextmanager
def _output_errors(path: Path, numbers: frozenset[int] | None = None) -> Iterator[None]:
    """Turn what the operating system says (only *numbers*, when given) into an ``OutputError``."""
    try:
        yield
    except OSError as error:
        if numbers is None or error.errno in numbers:
            raise output_error(path, error) from error
        raise


def write_new(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a small file that was not there before; a failure leaves none behind.

    ``mode`` (less the umask) holds from the file's first moment.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise output_error(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise output_error(path, error) from error
        raise


def refuse_inside(source: Path, output: Path) -> None:
    """Raise OutputError for an output in its own application directory, which makes it part of the next."""
    if source.is_dir() and output.resolve().is_relative_to(source.resolve()):
        raise OutputError(
            str(output),
            f"lies inside the application directory {source}",
            expected="a place outside of it",
            hint="choose another place",
        )


def output_error(path: Path, error: OSError) -> OutputError:
    """What to tell when the operating system refuses to write *path*."""
    reason = error.strerror or str(error)
    hint = {
        errno.ENOSPC: "free some space, or write to another file system",
        errno.EDQUOT: "free some space, or write to another file system",
        errno.ENOENT: f"make the directory {path.parent} first",
        errno.EBUSY: "a mount point cannot be replaced: name a directory inside it",
    }.get(error.errno or 0)
    return OutputError(str(path), f"cannot be written ({reason})", hint=hint)


class _Terminated(BaseException):
    """A terminating signal arrived; carries its number out through the blocks that clean up."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the block first, and then end the process as they would have."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def unwind(number: int, _frame: FrameType | None) -> NoReturn:
        raise _Terminated(number)

    caught = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    try:
        for number in caught:
            signal.signal(number, unwind)
        yield
    except _Terminated as terminated:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), terminated.number)
        raise
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
