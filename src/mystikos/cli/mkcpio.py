"""``myst mkcpio``: a directory into a root file system image."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos.formats.atomic import atomic_output
from mystikos.rootfs import scan


@click.command("mkcpio")
@click.argument("directory", type=click.Path(path_type=Path, readable=False))
@click.argument("archive", type=click.Path(path_type=Path, readable=False))
def command(directory: Path, archive: Path) -> None:
    """Pack DIRECTORY into ARCHIVE, a CPIO archive of the newc format.

    The archive is the same for every copy of the directory: sorted, and without owners, times and inode
    numbers of this machine. It is what a package holds, and GNU cpio reads it.
    """
    rootfs = scan(directory)
    with atomic_output(archive) as file:
        for chunk in rootfs.chunks():
            file.write(chunk)
