"""``myst attach``: the package, when the signature of a request has come back."""

from __future__ import annotations

from pathlib import Path

import click

from mystikos import pipeline
from mystikos.cli import failures
from mystikos.cli.building import default_output, load_config, progress_bar, refuse_inputs, warn_of_lacking
from mystikos.cli.render import display, json_option, to_json
from mystikos.errors import AttachError, RequestError, SignatureError
from mystikos.pipeline import Built
from mystikos.request import LARGEST, SigningRequest
from mystikos.signature import mrsigner
from mystikos.signers import load_public_modulus
from mystikos.signers.base import FORMS, decode_signature

_PATH = click.Path(path_type=Path, readable=False)
_NO = 1


@click.command("attach")
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
    asked = SigningRequest.decode(_read(request_file), str(request_file))
    signed = decode_signature(_read(signature))
    if signed is None:
        raise RequestError(str(signature), "is no signature", expected=FORMS)
    modulus = load_public_modulus(pubkey)
    config = load_config(config_file)
    output = outfile or default_output(config)
    refuse_inputs(output, appdir, config_file, request_file, signature, pubkey)

    try:
        with progress_bar() as progress:
            built = pipeline.attach(appdir, config, asked, signed, modulus, output, progress=progress)
    except (SignatureError, AttachError) as error:
        failures.report(error)
        return _NO
    warn_of_lacking(appdir, built.lacking)
    click.echo(to_json(_plain(output, built)) if as_json else _text(output, built))
    return 0


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST + 1)


def _plain(output: Path, built: Built) -> dict[str, object]:
    signed = built.sigstruct
    return {
        "package": output,
        "mrenclave": signed.enclave_hash.hex(),
        "mrsigner": mrsigner(signed.modulus).hex(),
        "product_id": signed.product_id,
        "security_version": signed.security_version,
    }


def _text(output: Path, built: Built) -> str:
    return f"{display(output)}: new package, MRENCLAVE {built.sigstruct.enclave_hash.hex()}"
