"""The ``myst`` command: parses, calls the library, renders. One module per verb.

Verbs are imported only when they are used, so that ``myst --help`` starts fast. Nothing a person can
type, and nothing a file can hold, ends in a traceback; ``MYST_TRACEBACK=1`` shows one for bug reports.

>>> main(["check", "config.json", "appdir"])  # doctest: +SKIP
0
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

import mystikos
from mystikos.cli import failures, terminal
from mystikos.cli.verb import HELP_NAMES, VerbGroup, did_you_mean, note_json

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Entry(NamedTuple):
    """Where a verb is (a module of mystikos.cli that defines a click command named `command`), what it
    does in one line, and under which heading it is listed.
    """

    module: str
    summary: str
    heading: str


_BEGIN, _MAKE, _JUDGE = "Begin", "Make packages", "Judge and look inside"
_RUN, _MORE = "Run", "More"

# in the order in which a newcomer meets them, those of one heading together
VERBS: dict[str, Entry] = {
    "collect": Entry("collect", "copy a program and all it needs into an application directory", _BEGIN),
    "init": Entry("init", "write a commented starter config and make a key", _BEGIN),
    "keygen": Entry("keygen", "make a signing key", _BEGIN),
    "check": Entry("check", "tell every mistake in a config, and what weakens security", _BEGIN),
    "package-sgx": Entry("package_sgx", "make one signed executable of an application directory", _MAKE),
    "measure": Entry("measure", "tell what a package would measure and cost, without a key", _MAKE),
    "sign-sgx": Entry("sign_sgx", "make a directory with the signed package and its parts", _MAKE),
    "digest": Entry("digest", "write what a key that is elsewhere has to sign", _MAKE),
    "attach": Entry("attach", "make the package when the signature has come back", _MAKE),
    "verify": Entry("verify", "tell whether a package is what it says it is", _JUDGE),
    "inspect": Entry("inspect", "tell what a package or an application directory is made of", _JUDGE),
    "dump-sgx": Entry("dump_sgx", "print identity and config of a package, as the original does", _JUDGE),
    "diff": Entry("diff", "tell why two packages measure differently", _JUDGE),
    "extract": Entry("extract", "write the parts of a package as files", _JUDGE),
    "doctor": Entry("doctor", "tell where packages can run on this machine, and what is missing", _RUN),
    "exec-sgx": Entry("exec_sgx", "run a program of a directory in an enclave", _RUN),
    "exec-linux": Entry("exec_linux", "run a program of a directory in a plain Linux process", _RUN),
    "mkcpio": Entry("mkcpio", "pack a directory into a root file system image", _MORE),
    "excpio": Entry("excpio", "unpack a root file system image into a directory", _MORE),
    "schema": Entry("schema", "print the JSON Schema of the config or a policy, for editors", _MORE),
    "fsgsbase": Entry("fsgsbase", "tell whether the FSGSBASE instructions work", _MORE),
    "completion": Entry("completion", "print what makes a shell complete verbs and options", _MORE),
    "man": Entry("man", "show the manual page of a verb", _MORE),
}

# other names of a verb, for people who come from the original commands
ALIASES: dict[str, str] = {
    "package": "package-sgx",
    "sign": "sign-sgx",
    "dump": "dump-sgx",
    "exec": "exec-sgx",
}


class _Verbs(VerbGroup):
    """Knows its verbs' names and one-line helps without importing them."""

    examples = (
        "myst collect ./hello -o appdir                # a program and all it needs",
        "myst init --application-path /bin/hello       # config.json and private.pem",
        "myst package-sgx appdir private.pem config.json",
        "myst verify hello",
    )

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = VERBS.get(ALIASES.get(cmd_name, cmd_name))
        if verb is None:
            return None
        command = importlib.import_module(f"mystikos.cli.{verb.module}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None:
            note_json(args)
            nearest = did_you_mean(args[0], [*VERBS, *ALIASES])
            raise click.UsageError(f'no verb "{args[0]}"{nearest}', ctx)
        return args[0], command, args[1:]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, verbs in groupby(VERBS.items(), key=lambda item: item[1].heading):
            with formatter.section(heading):
                formatter.write_dl(
                    [(f"{name:<{_WIDEST}}", verb.summary) for name, verb in verbs], col_spacing=2
                )
        super().format_options(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """They came first."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        verbs = [CompletionItem(n, help=v.summary) for n, v in VERBS.items() if n.startswith(incomplete)]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]


_WIDEST = max(map(len, VERBS))


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": list(HELP_NAMES)},
    subcommand_metavar="VERB [ARGS]...",
    epilog="`myst VERB --help` explains one verb, `myst man VERB` shows its manual page. "
    "Exit code: 0 success, 1 the answer is no, 2 bad usage or bad input.",
)
@click.version_option(mystikos.__version__, prog_name="myst", message="%(prog)s %(version)s")
@click.pass_context
def _myst(ctx: click.Context) -> None:
    """Turn an application directory, a key and a config into one signed executable."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(failures.BAD_INPUT)


def _complete(args: list[str]) -> int:
    """Answer the shell, which asks click; somebody is typing, so mistakes are not told."""
    try:
        _myst.main(args, prog_name="myst")
    except (Exception, KeyboardInterrupt, SystemExit) as end:
        return end.code if isinstance(end, SystemExit) and isinstance(end.code, int) else failures.BAD_INPUT
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit code: 0 success, 1 the answer is no, 2 bad usage or bad input."""
    args = list(sys.argv[1:] if argv is None else argv)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller (`>&-`), who wants no output
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (open until the process ends)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names that are not UTF-8 can be printed, too
            stream.reconfigure(errors="backslashreplace")

    if "_MYST_COMPLETE" in os.environ:
        return _complete(args)
    try:
        color = terminal.reset().color
        with _myst.make_context("myst", args, color=color) as ctx:
            result = _myst.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # nothing of ours exits by itself
        return failures.report(error)
    finally:
        terminal.reset()  # what this command line asked for is not for the next one in the same process
    return result if isinstance(result, int) else 0
