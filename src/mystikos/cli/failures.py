"""What a person sees when a command line fails: one line that begins ``myst: ``, and an exit code.

>>> report(MystError("appdir", "got a socket", hint="remove it"))
2
"""

from __future__ import annotations

import errno
import os
import sys
import traceback

import click

from mystikos.cli import terminal
from mystikos.cli.render import display
from mystikos.errors import ConfigError, MystError

INTERRUPTED = 130  # 128 + SIGINT, as a shell tells it
PIPE_CLOSED = 141  # 128 + SIGPIPE
BAD_INPUT = 2

_OS_HINTS = {
    errno.ENOSPC: "free some space, or write to another file system",
    errno.EDQUOT: "free some of your quota, or write to another file system",
    errno.EROFS: "write to another directory",
}


def report(error: BaseException) -> int:
    """Tell on stderr why the command line failed; return the exit code."""
    if os.environ.get("MYST_TRACEBACK"):
        traceback.print_exception(error, file=sys.stderr)

    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return _silence_stdout()
    if isinstance(error, click.Abort):
        tell("no answer to the question", None)
    elif isinstance(error, click.NoSuchOption):
        nearest = f', did you mean "{error.possibilities[0]}"?' if error.possibilities else ""
        tell(f'no such option "{error.option_name}"{nearest}', _usage_hint(error))
    elif isinstance(error, click.UsageError):
        tell(_lower_first(error.format_message()), _usage_hint(error))
    elif isinstance(error, click.ClickException):
        tell(_lower_first(error.format_message()), None)
    elif isinstance(error, ConfigError):
        for problem in error.problems:
            tell(str(problem), problem.hint)
        _hint(error.hint)
    elif isinstance(error, MystError):
        tell(str(error), error.hint)
    elif isinstance(error, OSError):
        tell(_describe_os_error(error), _OS_HINTS.get(error.errno or 0))
    elif isinstance(error, MemoryError):
        tell("out of memory", None)
    else:
        tell(
            f"internal error: {type(error).__name__}: {error}",
            "this is a bug in myst: please report it with the output of MYST_TRACEBACK=1",
        )
    return BAD_INPUT


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


def _describe_os_error(error: OSError) -> str:
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    return ": ".join([" → ".join(names), reason] if names else [reason])


def _silence_stdout() -> int:
    """The reader of our output has gone: leave quietly, also at the flush when Python exits."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)
    return PIPE_CLOSED
