"""``myst package-sgx``: an application directory, a key and a config into one signed executable."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos.cli.building import default_output, tell_built
from mystikos.cli.packaging import Inputs, packaging_options
from mystikos.cli.progress import progress_bar
from mystikos.cli.render import json_option
from mystikos.cli.verb import FileName, verb

_PATH = FileName()


@verb(
    "package-sgx",
    examples=[
        "myst package-sgx appdir private.pem config.json",
        "myst package-sgx appdir config.json --pkcs11-module hsm.so --pkcs11-key mine",
    ],
)
@click.option("-o", "--outfile", type=_PATH, help="The executable to write.  [default: named as the program]")
@packaging_options
@json_option
def command(inputs: Inputs, outfile: Path | None, as_json: bool) -> None:
    """Package APPDIR, a directory or CPIO archive, as one executable for SGX that is signed with KEY.

    The executable is written to the current directory and named as the program that CONFIG runs
    (ApplicationPath). The same inputs give the same bytes: the date of the signature is --date, else that
    of SOURCE_DATE_EPOCH, else 1980-01-01.

    Without KEY (`myst package-sgx APPDIR CONFIG`) an option names who signs instead: a token
    (--pkcs11-module), a command (--signing-command) or a plugin (--signer).
    """
    from mystikos import pipeline

    output = outfile or default_output(inputs.config)
    inputs.refuse(output)

    with progress_bar("measuring") as progress:
        built = pipeline.build(
            inputs.appdir,
            inputs.signer,
            inputs.config,
            output,
            date=inputs.date,
            allow_debug=inputs.allow_debug,
            progress=progress,
        )
    inputs.warn(built.lacking)
    tell_built(output, built, as_json)
