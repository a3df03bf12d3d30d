"""Two root file systems, entry by entry; only what may differ is read."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterable, Iterator

from mystikos.diffing.findings import FileChange, FileState
from mystikos.progress import Counter
from mystikos.rootfs import Entry, RootFs

__all__ = ["file_changes"]

_PIECE = 1 << 16  # stays in the processor's caches


def file_changes(
    before: RootFs,
    after: RootFs,
    known_equal: Callable[[Entry, Entry], bool] = lambda _one, _other: False,
    *,
    counter: Counter | None = None,
) -> tuple[FileChange, ...]:
    """Every path that was added, removed or changed, in the order of paths.

    Content is not read of files that ``known_equal`` says are the same.
    """
    one, other = _Side(before), _Side(after)
    same_content = _by_inode(known_equal)
    changes = []
    for path in _merged(one.entries, other.entries):
        old, new = one.entries.get(path), other.entries.get(path)
        what: tuple[str, ...]
        if old is None or new is None:
            what = ("added",) if old is None else ("removed",)
        else:
            what = tuple(_attributes(one, other, old, new, same_content))
        if what:
            before_state = None if old is None else one.state(old)
            after_state = None if new is None else other.state(new)
            changes.append(FileChange(path, what, before_state, after_state))
        if counter and old is not None:
            counter.add(old.size)
    return tuple(changes)


def _by_inode(known_equal: Callable[[Entry, Entry], bool]) -> Callable[[Entry, Entry], bool]:
    """Whether two files of one size have the same content; hard links are not read again."""
    found: dict[tuple[int, int], bool] = {}

    def same(old: Entry, new: Entry) -> bool:
        pair = old.ino, new.ino
        if pair not in found:
            found[pair] = known_equal(old, new) or _same_content(old, new)
        return found[pair]

    return same


class _Side:
    """One of the two, with its hard links, of which one is hashed."""

    def __init__(self, rootfs: RootFs) -> None:
        self.entries = {entry.path: entry for entry in rootfs.entries}
        self._first: dict[int, bytes] = {}
        self._digests: dict[int, str] = {}
        for entry in rootfs.entries:
            self._first.setdefault(entry.ino, entry.path)

    def linked_to(self, entry: Entry) -> bytes | None:
        return self._first[entry.ino] if entry.is_file and entry.nlink > 1 else None

    def state(self, entry: Entry) -> FileState:
        return FileState(
            mode=stat.filemode(entry.mode),
            size=entry.size,
            sha256=self._digest(entry) if entry.is_file else None,
            target=entry.target if entry.is_symlink else None,
            linked_to=self.linked_to(entry),
            links=entry.nlink if entry.is_file else 1,
        )

    def _digest(self, entry: Entry) -> str:
        if entry.ino not in self._digests:
            self._digests[entry.ino] = _sha256(entry)
        return self._digests[entry.ino]


def _merged(one: Iterable[bytes], other: Iterable[bytes]) -> list[bytes]:
    return sorted({*one, *other})


def _attributes(
    one: _Side, other: _Side, old: Entry, new: Entry, same_content: Callable[[Entry, Entry], bool]
) -> Iterator[str]:
    if stat.S_IFMT(old.mode) != stat.S_IFMT(new.mode):
        yield "type"
        return
    if old.mode != new.mode:
        yield "mode"
    if old.target != new.target:
        yield "target"
    if not old.is_file:
        return
    if old.size != new.size:
        yield "size"
    if old.size != new.size or not same_content(old, new):
        yield "content"
    if (one.linked_to(old), old.nlink) != (other.linked_to(new), new.nlink):
        yield "links"


def _same_content(old: Entry, new: Entry) -> bool:
    """Compare two files of the same size."""
    with old.open() as one, new.open() as other:
        while piece := one.read(_PIECE):
            if piece != other.read(_PIECE):
                return False
        return not other.read(1)


def _sha256(entry: Entry) -> str:
    digest = hashlib.sha256()
    for chunk in entry.chunks():
        digest.update(chunk)
    return digest.hexdigest()
