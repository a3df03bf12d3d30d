"""What is told when a command line fails: a line that begins ``myst: ``, an exit code,
and with ``--json`` a document.

>>> report(MystError("appdir", "got a socket", hint="remove it"))
2
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from dataclasses import dataclass, replace

import click

from mystikos.cli import terminal
from mystikos.cli.render import display, to_json
from mystikos.errors import ConfigError, MystError, one_line

INTERRUPTED = 130  # 128 + SIGINT, as a shell tells it
PIPE_CLOSED = 141  # 128 + SIGPIPE
BAD_INPUT = 2

_OS_HINTS = {
    errno.ENOSPC: "free some space, or write to another file system",
    errno.EDQUOT: "free some of your quota, or write to another file system",
    errno.EROFS: "write to another directory",
}


def report(error: BaseException) -> int:
    """Tell on stderr why the command line failed, and to programs on stdout; return the exit code."""
    if os.environ.get("MYST_TRACEBACK"):
        traceback.print_exception(error, file=sys.stderr)

    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return _silence_stdout()
    failures = explain(error)
    for failure in failures:
        tell(failure.message, failure.hint)
    if terminal.settings().json:
        _print_document(failures)
    return BAD_INPUT


@dataclass(frozen=True)
class Failure:
    """One thing that is wrong: ``message`` for people, its parts where it has them; ``hint``: what to do."""

    message: str
    where: str | None = None
    found: str | None = None
    expected: str | None = None
    hint: str | None = None


def explain(error: BaseException) -> list[Failure]:
    """Everything that an exception says is wrong, in the order in which to tell it.

    >>> [failure.where for failure in explain(MystError("appdir", "got a socket"))]
    ['appdir']
    """
    if isinstance(error, click.Abort):
        return [Failure("no answer to the question")]
    if isinstance(error, click.NoSuchOption):
        nearest = f', did you mean "{error.possibilities[0]}"?' if error.possibilities else ""
        return [Failure(f'no such option "{error.option_name}"{nearest}', hint=_usage_hint(error))]
    if isinstance(error, click.UsageError):
        return [Failure(_lower_first(error.format_message()), hint=_usage_hint(error))]
    if isinstance(error, click.ClickException):
        return [Failure(_lower_first(error.format_message()))]
    if isinstance(error, ConfigError):
        told = [Failure(str(p), p.where, p.found, p.expected, p.hint) for p in error.problems]
        if error.hint and told:
            hints = filter(None, (told[-1].hint, error.hint))
            told[-1] = replace(told[-1], hint="\n".join(hints))
        return told
    if isinstance(error, MystError):
        return [Failure(str(error), error.where, error.found, error.expected, error.hint)]
    if isinstance(error, OSError):
        where, found = _describe_os_error(error)
        message = f"{where}: {found}" if where else found
        return [Failure(message, where, found, hint=_OS_HINTS.get(error.errno or 0))]
    if _is_lack_of_memory(error):
        return [Failure("out of memory")]
    return [
        Failure(
            f"internal error: {type(error).__name__}: {error}",
            hint="this is a bug in myst: please report it with the output of MYST_TRACEBACK=1",
        )
    ]


def _is_lack_of_memory(error: BaseException | None) -> bool:
    """Also of the loader, which tells it of a library in prose, and of a new thread's stack."""
    while error is not None:
        told = str(error)
        if isinstance(error, MemoryError) or "can't start new thread" in told:
            return True
        if isinstance(error, ImportError) and ("failed to map" in told or "Cannot allocate memory" in told):
            return True
        error = error.__cause__ or error.__context__
    return False


def _print_document(failures: list[Failure]) -> None:
    """The answer of a command line that has no other; it may be standard output that cannot be written."""
    with contextlib.suppress(OSError):
        click.echo(to_json({"errors": failures}))


def tell(message: str, hint: str | None) -> None:
    """One failure: what is wrong, and below it what to do about it."""
    first, *rest = map(display, message.split("\n"))
    prefix = click.style("myst:", fg="red", bold=True)
    click.echo("\n".join([f"{prefix} {first}", *rest]), err=True, color=terminal.colored(sys.stderr))
    _hint(hint)


def _hint(hint: str | None) -> None:
    for line in (hint or "").splitlines():
        click.echo(f"      {display(line)}", err=True)


def _usage_hint(error: click.UsageError) -> str:
    command = error.ctx.command_path if error.ctx else "myst"
    return f"`{command} --help` shows the usage"


def _lower_first(message: str) -> str:
    """Click writes sentences; ours go on after ``myst: ``."""
    return message[:1].lower() + message[1:].rstrip(".")


def _describe_os_error(error: OSError) -> tuple[str | None, str]:
    """Which files, if it says so, and what is the matter."""
    names = [
        one_line(os.fsdecode(name))
        for name in (error.filename, error.filename2)
        if isinstance(name, str | bytes)
    ]
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    return " → ".join(names) or None, reason


def _silence_stdout() -> int:
    """The reader of our output has gone: leave quietly, also at the flush when Python exits."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)
    return PIPE_CLOSED
