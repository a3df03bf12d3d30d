"""Stage 5a: signing with an external command, which reaches the key in its own way.

The command gets on standard input the message of 256 bytes, or the 32 bytes of its SHA-256 digest, and
writes the PKCS#1 v1.5 signature to standard output: 384 bytes big-endian, or these in base64 or hex. Its
standard error stays that of myst, so that it can ask and complain.

>>> signer = CommandSigner("openssl dgst -sha256 -sign key.pem", modulus)  # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
import os
import select
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from mystikos.errors import SignerError, clip
from mystikos.signers.base import FORMS, decode_signature

__all__ = ["DEFAULT_TIMEOUT", "CommandSigner", "Input"]

DEFAULT_TIMEOUT = 300.0
"""Seconds."""
_LARGEST_OUTPUT = 64 * 1024  # bytes; a signature has 384, or twice as many in hex
_LONGEST = 1e6  # seconds that poll(2) is asked to wait


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
        if not self.timeout > 0:  # nor is NaN
            raise SignerError(self._where, f"a timeout of {self.timeout:g}", expected="some seconds")

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
        """What the command wrote; it has ended, by itself or because it took too long or wrote too much."""
        deadline = time.monotonic() + self.timeout
        with self._start() as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                with suppress(BrokenPipeError):  # it need not read
                    process.stdin.write(given)  # a pipe takes that much at once
                    process.stdin.close()
                output = _read(process.stdout.fileno(), deadline)
                if len(output) > _LARGEST_OUTPUT:
                    raise SignerError(self._where, "wrote more than 64 KiB", expected=FORMS)
                code = process.wait(max(0, deadline - time.monotonic()))
            except (TimeoutError, subprocess.TimeoutExpired) as error:
                process.kill()
                raise SignerError(
                    self._where,
                    f"did not end within {self.timeout:g} seconds",
                    hint="--signing-timeout gives it more",
                ) from error
            except BaseException:
                process.kill()
                raise
        if code:
            raise SignerError(self._where, _ending(code), expected="exit code 0")
        return output

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                shlex.split(self.command), bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SignerError(self._where, f"cannot be run ({reason})") from error


def _read(descriptor: int, deadline: float) -> bytes:
    """Everything up to the end of the pipe, or a little more than the largest output; or TimeoutError."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    output = b""
    while len(output) <= _LARGEST_OUTPUT:
        left = min(max(0, deadline - time.monotonic()), _LONGEST)
        if not poll.poll(left * 1000):
            raise TimeoutError
        piece = os.read(descriptor, _LARGEST_OUTPUT + 1 - len(output))
        if not piece:
            break
        output += piece
    return output


def _ending(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
