"""The facts about the root file system: every entry, with its digest and its pages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from mystikos.costs import file_costs
from mystikos.inspection.facts import FileFacts, RootFsFacts
from mystikos.rootfs import Entry, RootFs


def rootfs_facts(root: RootFs, done: Callable[[int], None]) -> RootFsFacts:
    """Every entry in the order of the image; ``done`` is told the bytes hashed."""
    pages = {cost.path: cost.pages for cost in file_costs(root) if cost.path is not None}
    first: dict[int, Entry] = {}
    digests: dict[int, str] = {}  # hard links are hashed once
    files = []
    for entry in root.entries:
        first.setdefault(entry.ino, entry)
        if entry.is_file and entry.ino not in digests:
            digests[entry.ino] = _sha256(entry, done)
        files.append(_file(entry, first, digests, pages))
    return RootFsFacts(root.size, tuple(files))


def _file(
    entry: Entry, first: Mapping[int, Entry], digests: Mapping[int, str], pages: Mapping[bytes, int]
) -> FileFacts:
    linked = entry.is_file and entry.nlink > 1
    return FileFacts(
        path=entry.path,
        kind="directory" if entry.is_directory else "symlink" if entry.is_symlink else "file",
        mode=f"{entry.mode & 0o7777:04o}",
        size=0 if entry.is_directory else entry.size,
        sha256=digests[entry.ino] if entry.is_file else None,
        target=entry.target if entry.is_symlink else None,
        linked_to=first[entry.ino].path if linked else None,
        links=entry.nlink if entry.is_file else 1,
        pages=pages[entry.path],
    )


def _sha256(entry: Entry, done: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    for chunk in entry.chunks():
        digest.update(chunk)
        done(len(chunk))
    return digest.hexdigest()
