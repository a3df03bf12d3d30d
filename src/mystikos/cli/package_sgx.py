"""``myst package-sgx``: an application directory, a key and a config into one signed executable."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos import pipeline
from mystikos.cli.building import (
    allow_debug_option,
    date_option,
    default_output,
    load_config,
    refuse_inputs,
    signing_date,
    tell_built,
    warn_of_lacking,
)
from mystikos.cli.progress import progress_bar
from mystikos.cli.render import json_option
from mystikos.cli.signing import Signing, signing_options
from mystikos.cli.verb import verb

_PATH = click.Path(path_type=Path, readable=False)


@verb(
    "package-sgx",
    examples=[
        "myst package-sgx appdir private.pem config.json",
        "myst package-sgx appdir config.json --pkcs11-module softhsm2.so --pkcs11-key release",
    ],
)
@click.argument("files", nargs=-1, metavar="[APPDIR] KEY CONFIG", type=_PATH)
@click.option("-o", "--outfile", type=_PATH, help="The executable to write.  [default: named as the program]")
@date_option
@click.option("--pubkey", multiple=True, type=_PATH, help="Trust disk images signed by this public key.")
@click.option("--roothash", multiple=True, type=_PATH, help="Trust the disk image with this root hash.")
@allow_debug_option
@json_option
@signing_options
def command(
    files: tuple[Path, ...],
    outfile: Path | None,
    date: str | None,
    pubkey: tuple[Path, ...],
    roothash: tuple[Path, ...],
    allow_debug: bool,
    as_json: bool,
    signing: Signing,
) -> None:
    """Package APPDIR, a directory or CPIO archive, as one executable for SGX that is signed with KEY.

    The executable is written to the current directory and named as the program that CONFIG runs
    (ApplicationPath). The same inputs give the same bytes: the date of the signature is --date, else that
    of SOURCE_DATE_EPOCH, else 1980-01-01.

    Without KEY (`myst package-sgx APPDIR CONFIG`) an option names who signs instead: a token
    (--pkcs11-module), a command (--signing-command) or a plugin (--signer).
    """
    appdir, key, config_file = _files(files, signing)
    if pubkey or roothash:
        raise _not_built_yet()
    signed_on = signing_date(date)

    config = load_config(config_file)
    signer = signing.load(key)
    output = outfile or default_output(config)
    refuse_inputs(output, appdir, config_file, *([key] if key else []))

    with progress_bar("measuring") as progress:
        built = pipeline.build(
            appdir, signer, config, output, date=signed_on, allow_debug=allow_debug, progress=progress
        )
    warn_of_lacking(appdir, built.lacking)
    tell_built(output, built, as_json)


def _files(files: tuple[Path, ...], signing: Signing) -> tuple[Path, Path | None, Path]:
    """APPDIR, KEY (if it is what signs) and CONFIG."""
    if not signing.by_key_file:
        if len(files) != 2:
            raise click.UsageError(
                f"got {len(files)} files, expected APPDIR CONFIG: the options name who signs, not a KEY file"
            )
        return files[0], None, files[1]
    if len(files) not in (2, 3):
        raise click.UsageError(f"got {len(files)} files, expected APPDIR KEY CONFIG")
    if len(files) == 2:
        raise _not_built_yet()
    return files[0], files[1], files[2]


def _not_built_yet() -> click.UsageError:
    return click.UsageError(
        "root file systems outside of the package (ext2 images, --pubkey, --roothash) are not built yet: "
        "give the application directory, as in `myst package-sgx appdir private.pem config.json`"
    )
