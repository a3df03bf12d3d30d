"""Options that several verbs share: where a key's passphrase comes from. Never from the command line
itself, which everyone on the machine can read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mystikos.signers import PemSigner

_Function = TypeVar("_Function", bound=Callable[..., Any])


DESCRIPTOR = click.IntRange(min=0, max=2**31 - 1)
"""The number of a file descriptor, an int of C."""


def passphrase_options(command: _Function) -> _Function:
    """Add ``--passphrase-env`` and ``--passphrase-fd``; pass their values to ``load_signer``."""
    env = click.option(
        "--passphrase-env", metavar="NAME", help="Take the key's passphrase from this environment variable."
    )
    fd = click.option(
        "--passphrase-fd",
        metavar="N",
        type=DESCRIPTOR,
        help="Read the key's passphrase from this file descriptor, up to the end of its first line.",
    )
    return env(fd(command))


def load_signer(path: str | Path, passphrase_env: str | None, passphrase_fd: int | None) -> PemSigner:
    """The signer in a PEM file; asks for the passphrase on the terminal when no option tells it."""
    given = given_passphrase(passphrase_env, passphrase_fd)
    return PemSigner.load(path, given if given is not None else lambda: ask_secret(f"Passphrase of {path}"))


def given_passphrase(passphrase_env: str | None, passphrase_fd: int | None) -> bytes | None:
    """The passphrase that the options name; None without an option."""
    return given_secret("passphrase", passphrase_env, passphrase_fd)


def given_secret(name: str, env: str | None, descriptor: int | None) -> bytes | None:
    """The secret that ``--NAME-env`` or ``--NAME-fd`` tells; None without either."""
    if env is not None and descriptor is not None:
        raise click.UsageError(f"--{name}-env and --{name}-fd exclude each other")
    if env is not None:
        value = os.environb.get(os.fsencode(env))
        if value is None:
            raise click.UsageError(f"--{name}-env: the variable {env} is not set")
        return value
    if descriptor is not None:
        return _read_line(f"--{name}-fd", descriptor)
    return None


def _read_line(option: str, descriptor: int) -> bytes:
    try:
        with open(descriptor, "rb", closefd=False) as file:
            return file.readline(4096).rstrip(b"\r\n")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise click.UsageError(f"{option}: descriptor {descriptor}: {reason}") from error


def ask_secret(what: str) -> bytes:
    """Ask on the terminal; nothing if there is none."""
    if not os.isatty(0):
        return b""  # nobody to ask: the signer tells which options there are
    answer: str = click.prompt(what, hide_input=True, default="", show_default=False, err=True)
    return answer.encode()
