"""``myst keygen private.pem``: make a signing key."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mystikos.cli import render, terminal
from mystikos.cli.keys import given_passphrase, passphrase_options
from mystikos.cli.verb import FileName, verb


@verb(
    "keygen",
    examples=[
        "myst keygen private.pem",
        "myst keygen release.pem --encrypt",
    ],
)
@click.argument("path", metavar="PRIVATE.PEM", type=FileName())
@click.option("--force", is_flag=True, help="Replace an existing file; the key in it is lost.")
@click.option("--encrypt", is_flag=True, help="Ask for a passphrase and encrypt the key with it.")
@click.option("--release", is_flag=True, help="Mark it as a key for releases, as an encrypted one is.")
@passphrase_options
@render.json_option
def command(
    path: Path,
    force: bool,
    encrypt: bool,
    release: bool,
    passphrase_env: str | None,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Make a signing key, RSA-3072 with exponent 3, in a new file that only you can read.

    Keep it: who has the key is the signer, and another key is another signer (MRSIGNER). A key for releases
    signs no debug package unless it is told so (--allow-debug).
    """
    from mystikos.signature import mrsigner
    from mystikos.signers import keygen

    passphrase = given_passphrase(passphrase_env, passphrase_fd)
    if passphrase is None and encrypt:
        passphrase = _new_passphrase()
    if passphrase == b"":
        raise click.UsageError("the passphrase is empty")

    signer = keygen(path, passphrase, force=force, release=release)
    signed_by = mrsigner(signer.public_modulus()).hex()
    if as_json:
        click.echo(render.to_json({"key": path, "mrsigner": signed_by}))
    else:
        terminal.tell(f"{render.display(path)}: new key, MRSIGNER {signed_by}")


def _new_passphrase() -> bytes:
    if not os.isatty(0):
        raise click.UsageError("no terminal to ask on: use --passphrase-env or --passphrase-fd")
    answer: str = click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return answer.encode()
