"""Application directories for tests."""

from __future__ import annotations

import os
from pathlib import Path

NOT_UTF8 = b"not-utf8-\xff\xfe"


def fill(root: Path) -> None:
    """Put some of everything that a root file system may hold into *root*."""
    for folder in ("bin", "etc/empty", "usr/lib"):
        (root / folder).mkdir(parents=True)
    (root / "bin/hello").write_bytes(b"\x7fELF hello")
    (root / "bin/hello").chmod(0o4755)
    (root / "etc/empty file").touch()
    (root / "etc/line\nbreak").write_text("x")
    (root / os.fsdecode(NOT_UTF8)).write_bytes(b"any bytes")
    (root / "lib").symlink_to("usr/lib")
    (root / "absolute").symlink_to("/bin/hello")
    (root / "dangling").symlink_to("nowhere")
    (root / "usr/lib/first").write_bytes(b"shared" * 1000)
    (root / "usr/lib/second").hardlink_to(root / "usr/lib/first")
    (root / "etc/third").hardlink_to(root / "usr/lib/first")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    root.chmod(0o755)
