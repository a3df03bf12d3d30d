"""``myst attach``: the package, when the signature of a request has come back."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos.cli import failures
from mystikos.cli.building import default_output, load_config, refuse_inputs, tell_built, warn_of_lacking
from mystikos.cli.progress import progress_bar
from mystikos.cli.render import json_option
from mystikos.cli.verb import FileName, verb
from mystikos.errors import AttachError, RequestError, SignatureError
from mystikos.formats.reading import read_start
from mystikos.request import LARGEST, SigningRequest
from mystikos.signers import load_public_modulus
from mystikos.signers.base import FORMS, decode_signature

_PATH = FileName()
_NO = 1


@verb(
    "attach",
    examples=[
        "myst attach appdir config.json request.json --signature raw.sig --pubkey k.pub",
    ],
)
@click.argument("appdir", type=_PATH)
@click.argument("config_file", metavar="CONFIG", type=_PATH)
@click.argument("request_file", metavar="REQUEST", type=_PATH)
@click.option("--signature", type=_PATH, required=True, help="The signature: 384 bytes, or in base64 or hex.")
@click.option("--pubkey", type=_PATH, required=True, help="The public key of who signed, in PEM form.")
@click.option("-o", "--outfile", type=_PATH, help="The executable to write.  [default: named as the program]")
@json_option
def command(
    appdir: Path,
    config_file: Path,
    request_file: Path,
    signature: Path,
    pubkey: Path,
    outfile: Path | None,
    as_json: bool,
) -> int:
    """Build APPDIR with CONFIG again, and write the package if it is what SIGNATURE and REQUEST are for.

    The exit code is 0 when the package was written, 1 when the signature is not one over the request by this
    key or the request is for something else than APPDIR and CONFIG, 2 when a file cannot be used.
    """
    from mystikos import pipeline

    asked = SigningRequest.decode(_read(request_file), str(request_file))
    signed = decode_signature(_read(signature))
    if signed is None:
        raise RequestError(str(signature), "is no signature", expected=FORMS)
    modulus = load_public_modulus(pubkey)
    config = load_config(config_file)
    output = outfile or default_output(config)
    refuse_inputs(output, appdir, config_file, request_file, signature, pubkey)

    try:
        with progress_bar("measuring") as progress:
            built = pipeline.attach(appdir, config, asked, signed, modulus, output, progress=progress)
    except (SignatureError, AttachError) as error:
        failures.report(error)
        return _NO
    warn_of_lacking(appdir, built.lacking)
    tell_built(output, built, as_json)
    return 0


def _read(path: Path) -> bytes:
    return read_start(path, LARGEST + 1)
