"""The ``myst`` command: parses, calls the library, renders. One module per verb.

Verbs are imported only when they are used, so that ``myst --help`` starts fast. Nothing a person can
type, and nothing a file can hold, ends in a traceback; ``MYST_TRACEBACK=1`` shows one for bug reports.

>>> main(["check", "config.json", "appdir"])  # doctest: +SKIP
0
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

import mystikos
from mystikos.cli import failures

# verb → (module in mystikos.cli that defines a click command named `command`, one-line help),
# in the order in which a newcomer meets them
VERBS: dict[str, tuple[str, str]] = {
    "collect": ("collect", "copy a program and all it needs into an application directory"),
    "init": ("init", "write a commented starter config and make a key"),
    "keygen": ("keygen", "make a signing key"),
    "check": ("check", "tell every mistake in a config, and what weakens security"),
    "package-sgx": ("package_sgx", "make one signed executable of an application directory"),
    "digest": ("digest", "write what a key that is elsewhere has to sign"),
    "attach": ("attach", "make the package when the signature has come back"),
    "verify": ("verify", "tell whether a package is what it says it is"),
    "inspect": ("inspect", "tell what a package or an application directory is made of"),
    "measure": ("measure", "tell what a package would measure, and what it costs, without a key"),
    "diff": ("diff", "tell why two packages measure differently"),
    "extract": ("extract", "write the parts of a package as files"),
    "doctor": ("doctor", "tell where packages can run on this machine, and what is missing"),
    "exec-sgx": ("exec_sgx", "run a program of an application directory in an enclave"),
    "exec-linux": ("exec_linux", "run a program of an application directory in a plain Linux process"),
    "mkcpio": ("mkcpio", "pack a directory into a root file system image"),
    "excpio": ("excpio", "unpack a root file system image into a directory"),
    "schema": ("schema", "print the JSON Schema of the config or a policy, for editors"),
    "fsgsbase": ("fsgsbase", "tell whether the FSGSBASE instructions work"),
}

# other names of a verb, for people who come from the original commands
ALIASES: dict[str, str] = {
    "package": "package-sgx",
    "dump": "inspect",
    "dump-sgx": "inspect",
    "exec": "exec-sgx",
}


class _VerbGroup(click.Group):
    """A group that knows its verbs' names and one-line helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(ALIASES.get(cmd_name, cmd_name))
        if verb is None:
            return None
        command = importlib.import_module(f"mystikos.cli.{verb[0]}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None:
            raise click.UsageError(f'no verb "{args[0]}"{_nearest_verb(args[0])}', ctx)
        return args[0], command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, summary) for name, (_, summary) in VERBS.items()])


def _nearest_verb(name: str) -> str:
    near = difflib.get_close_matches(name, [*VERBS, *ALIASES], n=1)
    return f', did you mean "{near[0]}"?' if near else ""


@click.group(
    cls=_VerbGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`myst VERB --help` tells about one verb. "
    "Exit code: 0 success, 1 the answer is no, 2 bad usage or bad input.",
)
@click.version_option(mystikos.__version__, prog_name="myst", message="%(prog)s %(version)s")
@click.pass_context
def _myst(ctx: click.Context) -> None:
    """Turn an application directory, a key and a config into one signed executable."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(failures.BAD_INPUT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit code: 0 success, 1 the answer is no, 2 bad usage or bad input."""
    args = list(sys.argv[1:] if argv is None else argv)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller (`>&-`), who wants no output
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (open until the process ends)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names that are not UTF-8 can be printed, too
            stream.reconfigure(errors="backslashreplace")

    try:
        if "_MYST_COMPLETE" in os.environ:  # the shell asks click for completions
            _myst.main(args, prog_name="myst")
        with _myst.make_context("myst", args) as ctx:
            result = _myst.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except (Exception, KeyboardInterrupt) as error:
        return failures.report(error)
    return result if isinstance(result, int) else 0
