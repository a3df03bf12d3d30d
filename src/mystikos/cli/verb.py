"""What all verbs have in common: a short help that ends with examples, options about the output, and a
word of help for whoever mistypes.

>>> @verb("greet", examples=["myst greet"])
... def command() -> None:
...     "Say hello."
...     terminal.tell("hello")
>>> command.main(["--quiet"], standalone_mode=False)
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mystikos.cli import terminal

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

HELP_NAMES = ("-h", "--help")


def verb(
    name: str, *, examples: Sequence[str], context_settings: dict[str, Any] | None = None
) -> Callable[[Callable[..., Any]], Verb]:
    """Make a function the command of a verb; ``examples`` are command lines as one would type them."""

    def decorate(function: Callable[..., Any]) -> Verb:
        make = click.command(name, cls=Verb, examples=examples, context_settings=context_settings)
        return make(function)

    return decorate


class HelpFormatter(click.HelpFormatter):
    """Headings in bold, what one types in colour; on a terminal."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, click.style("Usage:", bold=True) + " " if prefix is None else prefix)

    def write_heading(self, heading: str) -> None:
        self.write(f"{'':>{self.current_indent}}{click.style(heading + ':', bold=True)}\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], *args: Any, **kwargs: Any) -> None:
        super().write_dl([(click.style(term, fg="cyan"), text) for term, text in rows], *args, **kwargs)


class _Context(click.Context):
    formatter_class = HelpFormatter


class _Documented(click.Command):
    """A command whose help tells its own options first, then those that all verbs have."""

    context_class = _Context
    examples: tuple[str, ...] = ()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own, common = self.option_rows(ctx)
        for heading, rows in (("Options", own), ("Common options", common)):
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def option_rows(self, ctx: click.Context) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """The verb's own options and those of all verbs: how they are written, and what they do."""
        own: list[tuple[str, str]] = []
        common: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None and isinstance(parameter, click.Option):
                is_common = isinstance(parameter, _CommonOption) or "--help" in parameter.opts
                (common if is_common else own).append(row)
        return own, common

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
        super().format_epilog(ctx, formatter)


class Verb(_Documented):
    """One verb of ``myst``."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params += common_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if any("--json" in parameter.opts for parameter in self.params):
            note_json(args)
        return super().parse_args(ctx, args)


class VerbGroup(_Documented, click.Group):
    """``myst`` itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += common_options()


class _CommonOption(click.Option):
    """An option of all verbs."""


def note_json(args: Sequence[str]) -> None:
    """Remember that a program asks, before anything about the command line can turn out to be wrong."""
    if "--json" in takewhile(lambda arg: arg != "--", args):
        terminal.configure(json=True)


def common_options() -> list[click.Parameter]:
    """``--quiet``, ``--verbose`` and ``--color``; before the verb and after it they mean the same."""
    settings: dict[str, Any] = {"expose_value": False, "is_eager": True}
    return [
        _CommonOption(
            ["-q", "--quiet"],
            is_flag=True,
            callback=_quiet,
            help="Errors and requested data only; verdicts by exit code.",
            **settings,
        ),
        _CommonOption(
            ["-v", "--verbose"],
            count=True,
            callback=_verbose,
            help="Tell each step; -vv more.",
            **settings,
        ),
        _CommonOption(
            ["--color"],
            metavar="WHEN",
            type=Choice(list(terminal.COLOR_WORDS)),
            callback=_color,
            help="Colours: auto, always or never.  [default: auto]",
            **settings,
        ),
    ]


def _quiet(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    if given:
        terminal.configure(quiet=True)


def _verbose(ctx: click.Context, _: click.Parameter, count: int) -> None:
    if count:
        terminal.configure(verbosity=terminal.settings().verbosity + count)


def _color(ctx: click.Context, _: click.Parameter, given: str | None) -> None:
    if given is not None:
        ctx.color = terminal.COLOR_WORDS[given]
        terminal.configure(color=ctx.color)


class FileName(click.Path):
    """The path of a file or directory; the library tells what is wrong with what is there.

    An empty one is what a shell makes of a variable that is not set, and never the working directory.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(path_type=Path, readable=False, **settings)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in ("", b""):
            self.fail("is empty, expected a path", param, ctx)
        return super().convert(value, param, ctx)


class Choice(click.Choice[str]):
    """One of some words; for another one the error names the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            self._refuse(value, param, ctx)
        return str(value)

    def _refuse(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
        words = ", ".join(self.choices)
        self.fail(f'got "{value}", expected one of {words}{did_you_mean(value, self.choices)}', param, ctx)


def complete_files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """For what is a file only some of the time, so that it is no ``click.Path``."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of an error message: the known word that is nearest, if any is near.

    >>> did_you_mean("rotfs", ["rootfs", "config"])
    ', did you mean "rootfs"?'
    """
    near = difflib.get_close_matches(given, list(known), n=1)
    return f', did you mean "{near[0]}"?' if near else ""


def paragraphs(command: click.Command) -> list[str]:
    """The text of a command's help, a string for each paragraph."""
    text = inspect.cleandoc(command.help or "")
    return [" ".join(part.split()) for part in text.split("\n\n")]
