"""``myst extract``: the parts of a package as files."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos import parts
from mystikos.cli.render import display, json_option, to_json
from mystikos.package import unpack


@click.command("extract")
@click.argument("package", type=click.Path(path_type=Path, readable=False))
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path, readable=False),
    help="Where to write.",
)
@click.option("--only", multiple=True, type=click.Choice(parts.PARTS), help="Write this part; repeatable.")
@click.option("--archive", is_flag=True, help="Write the root file system as a CPIO archive.")
@click.option("--keep-setuid", is_flag=True, help="Keep the set-user-ID and set-group-ID bits of files.")
@json_option
def command(
    package: Path, output: Path, only: tuple[str, ...], archive: bool, keep_setuid: bool, as_json: bool
) -> None:
    """Write the parts of PACKAGE into the new or empty directory DIR.

    These are rootfs (the root file system), config.json (as its author wrote it), config.cbor (what the
    kernel reads), libmystkernel, libmystcrt.so, sigstruct.bin, signer.pem (the public key) and
    descriptor.bin. Whether PACKAGE is genuine is for `myst verify` to tell.

    Nothing is written outside of DIR, and DIR appears whole or not at all.

    Example: myst extract hello -o parts --only sigstruct
    """
    done = parts.extract(
        unpack(package), output, only=only or parts.PARTS, archive=archive, keep_set_id=keep_setuid
    )
    for path in done.without_set_id:
        click.echo(f"myst: {display(path)}: set-ID bits left out (see --keep-setuid)", err=True)
    if as_json:
        click.echo(to_json(done))
        return
    for file in done.files:
        click.echo(display(file))
