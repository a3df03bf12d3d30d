"""``myst excpio``: a root file system image back into a directory."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos.cli import terminal
from mystikos.cli.progress import progress_bar
from mystikos.cli.render import display, json_option, to_json
from mystikos.cli.verb import FileName, verb
from mystikos.extraction import extract
from mystikos.rootfs import from_archive


@verb(
    "excpio",
    examples=[
        "myst excpio rootfs.cpio appdir",
    ],
)
@click.argument("archive", type=FileName())
@click.argument("directory", type=FileName())
@click.option("--keep-setuid", is_flag=True, help="Keep the set-user-ID and set-group-ID bits of files.")
@json_option
def command(archive: Path, directory: Path, keep_setuid: bool, as_json: bool) -> None:
    """Unpack ARCHIVE, a CPIO archive of the newc format, into the new or empty DIRECTORY.

    Nothing is ever written outside of DIRECTORY, whatever the archive says, and an archive that tries is
    refused as a whole. Set-user-ID and set-group-ID bits of files are left out unless asked for.
    """
    with progress_bar("writing") as progress:
        done = extract(from_archive(archive), directory, keep_set_id=keep_setuid, progress=progress)
    for path in done.without_set_id:
        terminal.note(f"{display(path)}: set-ID bits left out (see --keep-setuid)")
    if as_json:
        facts = {"entries": done.entries, "size": done.size, "without_set_id": done.without_set_id}
        click.echo(to_json({"directory": directory, **facts}))
