"""``myst package-sgx``: an application directory, a key and a config into one signed executable."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from mystikos import config as configs
from mystikos import pipeline, signature
from mystikos.cli.keys import load_signer, passphrase_options
from mystikos.cli.render import display
from mystikos.errors import MystError, OutputError

_PATH = click.Path(path_type=Path, readable=False)


@click.command("package-sgx")
@click.argument("files", nargs=-1, metavar="[APPDIR] KEY CONFIG", type=_PATH)
@click.option("-o", "--outfile", type=_PATH, help="The executable to write.  [default: named as the program]")
@click.option("--date", "date", metavar="YYYY-MM-DD", help="Date of the signature.  [default: 1980-01-01]")
@click.option("--pubkey", multiple=True, type=_PATH, help="Trust disk images signed by this public key.")
@click.option("--roothash", multiple=True, type=_PATH, help="Trust the disk image with this root hash.")
@passphrase_options
def command(
    files: tuple[Path, ...],
    outfile: Path | None,
    date: str | None,
    pubkey: tuple[Path, ...],
    roothash: tuple[Path, ...],
    passphrase_env: str | None,
    passphrase_fd: int | None,
) -> None:
    """Package APPDIR, a directory or CPIO archive, as one executable for SGX that is signed with KEY.

    The executable is written to the current directory and named as the program that CONFIG runs
    (ApplicationPath). The same inputs give the same bytes: the date of the signature is --date, else that
    of SOURCE_DATE_EPOCH, else 1980-01-01.
    """
    if len(files) not in (2, 3):
        raise click.UsageError(f"got {len(files)} files, expected APPDIR KEY CONFIG")
    if len(files) == 2 or pubkey or roothash:
        raise click.UsageError(
            "root file systems outside of the package (ext2 images, --pubkey, --roothash) are not built yet: "
            "give the application directory, as in `myst package-sgx appdir private.pem config.json`"
        )
    appdir, key, config_file = files
    signed_on = _date(date)

    config = configs.load(config_file)
    for problem in configs.lint(config):
        click.echo(f"myst: warning: {problem}", err=True)
    signer = load_signer(key, passphrase_env, passphrase_fd)
    output = outfile or Path(os.fsdecode(config.application_path.rsplit(b"/", 1)[-1]))
    _refuse_inputs(output, appdir, key, config_file)

    with _progress_bar() as progress:
        built = pipeline.build(appdir, signer, config, output, date=signed_on, progress=progress)
    for line in built.lacking:
        click.echo(f"myst: warning: {display(appdir)}: lacks {line}", err=True)
    click.echo(f"{display(output)}: new package, MRENCLAVE {built.sigstruct.enclave_hash.hex()}")


def _date(given: str | None) -> datetime.date:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if given is not None:
        try:
            return datetime.date.fromisoformat(given)
        except ValueError as exc:
            raise click.BadParameter(f'got "{given}", expected YYYY-MM-DD', param_hint="--date") from exc
    if not epoch:
        return signature.DEFAULT_DATE
    try:
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).date()
    except (ValueError, OverflowError, OSError) as exc:
        raise MystError(
            "SOURCE_DATE_EPOCH",
            f'got "{epoch}"',
            expected="seconds since 1970-01-01",
            hint="correct or unset it",
        ) from exc


def _refuse_inputs(output: Path, *inputs: Path) -> None:
    for given in inputs:
        if output.exists() and given.exists() and output.samefile(given):
            raise OutputError(
                str(output),
                "is one of the inputs",
                expected="another file",
                hint="choose another with --outfile",
            )


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1, label="measuring", file=sys.stderr, show_eta=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield progress
