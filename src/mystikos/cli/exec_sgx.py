"""``myst exec-sgx``: run a program of an application directory at once, in an enclave."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mystikos.cli.executing import SETTINGS, Execution, execution_options
from mystikos.cli.verb import Choice, verb
from mystikos.errors import MystError
from mystikos.launcher import Target

_DEVICE = Path("/dev/sgx_enclave")
_TARGETS: dict[str, Target] = {"sgx": "sgx", "sim": "sim"}


@verb(
    "exec-sgx",
    context_settings=SETTINGS,
    examples=[
        "myst exec-sgx appdir /bin/hello world",
        "myst exec-sgx --target sim appdir /bin/hello    # the software SGX",
    ],
)
@click.option(
    "--target",
    metavar="TARGET",
    type=Choice(list(_TARGETS)),
    help="sgx: the processor's; sim: the software SGX, which protects nothing.  "
    "[default: that of MYST_TARGET, else sgx]",
)
@execution_options
def command(execution: Execution, target: str | None) -> None:
    """Run PROGRAM, a path in ROOTFS (a directory or a CPIO archive), in an enclave.

    For development: the enclave is a debug one, which the host can read, and its signer is a key that
    everybody has. Nothing is written to disk, and the exit code is the program's.
    """
    wanted = target or os.environ.get("MYST_TARGET") or "sgx"
    if wanted not in _TARGETS:
        raise MystError(
            "MYST_TARGET",
            f'got "{wanted}"',
            expected="sgx or sim",
            hint="`myst exec-linux` runs a program in a plain Linux process",
        )
    if wanted == "sgx" and not _DEVICE.exists():  # nothing takes its place unasked
        raise MystError(
            str(_DEVICE),
            "is not there, so there is no SGX to run this in",
            hint="`myst doctor` tells what is missing; --target sim runs it in the software SGX, unprotected",
        )
    execution.start(_TARGETS[wanted])
