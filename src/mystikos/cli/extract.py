"""``myst extract``: the parts of a package as files."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos import parts
from mystikos.cli import terminal
from mystikos.cli.progress import progress_bar
from mystikos.cli.render import display, json_option, to_json
from mystikos.cli.verb import Choice, FileName, verb
from mystikos.package import unpack
from mystikos.signed_directory import executable


@verb(
    "extract",
    examples=[
        "myst extract hello -o parts",
        "myst extract hello -o parts --only sigstruct",
    ],
)
@click.argument("package", type=FileName())
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    type=FileName(),
    help="Where to write.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="PART",
    type=Choice(parts.PARTS),
    help=f"Write this part ({', '.join(parts.PARTS)}); may be repeated.",
)
@click.option("--archive", is_flag=True, help="Write the root file system as a CPIO archive.")
@click.option("--keep-setuid", is_flag=True, help="Keep the set-user-ID and set-group-ID bits of files.")
@json_option
def command(
    package: Path, output: Path, only: tuple[str, ...], archive: bool, keep_setuid: bool, as_json: bool
) -> None:
    """Write the parts of PACKAGE into the new or empty directory DIR.

    These are rootfs (the root file system), config.json (as its author wrote it), config.cbor (what the
    kernel reads), libmystkernel, libmystcrt.so, sigstruct.bin, signer.pem (the public key),
    descriptor.bin and build.json (how it was made). Whether PACKAGE is genuine is for `myst verify` to tell.

    Nothing is written outside of DIR, and DIR appears whole or not at all.
    """
    with progress_bar("writing") as progress:
        done = parts.extract(
            unpack(executable(package)),
            output,
            only=only or parts.PARTS,
            archive=archive,
            keep_set_id=keep_setuid,
            progress=progress,
        )
    for path in done.without_set_id:
        terminal.note(f"{display(path)}: set-ID bits left out (see --keep-setuid)")
    if as_json:
        click.echo(to_json(done))
        return
    for file in done.files:
        terminal.tell(display(file))
