"""``myst excpio``: a root file system image back into a directory."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos.extraction import extract
from mystikos.rootfs import from_archive, printable


@click.command("excpio")
@click.argument("archive", type=click.Path(path_type=Path, readable=False))
@click.argument("directory", type=click.Path(path_type=Path, readable=False))
@click.option("--keep-setuid", is_flag=True, help="Keep the set-user-ID and set-group-ID bits of files.")
def command(archive: Path, directory: Path, keep_setuid: bool) -> None:
    """Unpack ARCHIVE, a CPIO archive of the newc format, into the new or empty DIRECTORY.

    Nothing is ever written outside of DIRECTORY, whatever the archive says, and an archive that tries is
    refused as a whole. Set-user-ID and set-group-ID bits of files are left out unless asked for.
    """
    done = extract(from_archive(archive), directory, keep_set_id=keep_setuid)
    for path in done.without_set_id:
        click.echo(f"myst: {printable(path)}: set-ID bits left out (see --keep-setuid)", err=True)
