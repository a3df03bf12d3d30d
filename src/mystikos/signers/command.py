"""Stage 5a: signing with an external command, which reaches the key in its own way.

The command gets on standard input the message of 256 bytes, or the 32 bytes of its SHA-256 digest, and
writes the PKCS#1 v1.5 signature to standard output: 384 bytes big-endian, or these in base64 or hex. Its
standard error stays that of myst, so that it can ask and complain.

>>> signer = CommandSigner("openssl dgst -sha256 -sign key.pem", modulus)  # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
import shlex
import signal
import subprocess
from dataclasses import dataclass
from enum import Enum

from mystikos.errors import SignerError, clip
from mystikos.signers.base import FORMS, decode_signature

__all__ = ["DEFAULT_TIMEOUT", "CommandSigner", "Input"]

DEFAULT_TIMEOUT = 300.0
"""Seconds."""


class Input(Enum):
    """What a command reads."""

    MESSAGE = "message"
    DIGEST = "digest"


@dataclass(frozen=True)
class CommandSigner:
    """A command line, split as a shell does but run without one, and the modulus of its key."""

    command: str
    modulus: int
    input: Input = Input.MESSAGE
    timeout: float = DEFAULT_TIMEOUT

    def __post_init__(self) -> None:
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise SignerError(self._where, f"cannot be split into words ({error})") from error
        if not words:
            raise SignerError("signing command", "is empty", expected="a program and its arguments")

    @property
    def _where(self) -> str:
        return f"signing command `{clip(self.command)}`"

    def public_modulus(self) -> int:
        return self.modulus

    def sign(self, message: bytes) -> bytes:
        """Run the command; raises SignerError when it fails, takes too long, or writes no signature."""
        given = message if self.input is Input.MESSAGE else hashlib.sha256(message).digest()
        output = self._run(given)
        signature = decode_signature(output)
        if signature is None:
            raise SignerError(self._where, f"wrote {len(output)} bytes", expected=FORMS)
        return signature

    def _run(self, given: bytes) -> bytes:
        try:
            done = subprocess.run(
                shlex.split(self.command),
                check=False,
                input=given,
                stdout=subprocess.PIPE,
                timeout=self.timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise SignerError(
                self._where,
                f"did not end within {self.timeout:g} seconds",
                hint="--signing-timeout gives it more",
            ) from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SignerError(self._where, f"cannot be run ({reason})") from error
        if done.returncode:
            raise SignerError(self._where, _ending(done.returncode), expected="exit code 0")
        return done.stdout


def _ending(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
