"""``myst mkcpio``: a directory into a root file system image."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos.cli.progress import progress_bar
from mystikos.cli.render import json_option, to_json
from mystikos.cli.verb import FileName, verb


@verb(
    "mkcpio",
    examples=[
        "myst mkcpio appdir rootfs.cpio",
    ],
)
@click.argument("directory", type=FileName())
@click.argument("archive", type=FileName())
@json_option
def command(directory: Path, archive: Path, as_json: bool) -> None:
    """Pack DIRECTORY into ARCHIVE, a CPIO archive of the newc format.

    The archive is the same for every copy of the directory: sorted, and without owners, times and inode
    numbers of this machine. It is what a package holds, and GNU cpio reads it.
    """
    from mystikos.verbs import mkcpio

    with progress_bar("writing") as progress:
        rootfs = mkcpio(directory, archive, progress=progress)
    if as_json:
        click.echo(to_json({"archive": archive, "entries": len(rootfs.entries), "size": rootfs.size}))
