r"""Manual pages, made of what the verbs say about themselves: ``myst(1)``, and ``myst-VERB(1)`` for each.

The text is man(7) that groff and mandoc read alike; it holds no date, so that a release has one text.

>>> _text("a.b -c \\ …")
'a.b \\-c \\e \\[u2026]'
"""

from __future__ import annotations

import importlib
import re
import textwrap
from collections.abc import Iterator
from itertools import groupby

import click

import mystikos
from mystikos.cli import ALIASES, VERBS, _myst
from mystikos.cli.verb import HELP_NAMES, Verb, VerbGroup, paragraphs

_EXIT_STATUS = (
    ("0", "Success."),
    ("1", "The answer is no: a check failed, two things differ, a signature does not belong."),
    ("2", "Bad usage or bad input. One line on standard error tells where, what and what to do."),
    ("130, 141", "Interrupted; whoever read the output went away."),
)
_ENVIRONMENT = (
    ("NO_COLOR", "When set, no colours."),
    ("CLICOLOR_FORCE", "When set to something other than 0, colours even where there is no terminal."),
    ("SOURCE_DATE_EPOCH", "Date of a signature that --date does not give, in seconds since 1970-01-01."),
    ("MYST_TRACEBACK", "When set, a failure shows its Python traceback, for bug reports."),
    ("MYST_TARGET", "Where a package runs: sgx, sim or linux."),
)


def page_names() -> tuple[str, ...]:
    """``myst`` and ``myst-VERB``, as in man(1)."""
    return ("myst", *(f"myst-{name}" for name in VERBS))


def page(name: str) -> str:
    """One page; ``name`` is one of ``page_names()``."""
    verb = name.removeprefix("myst-") if name != "myst" else None
    return "\n".join(_overview() if verb is None else _verb(verb)) + "\n"


def _overview() -> Iterator[str]:
    context = click.Context(_myst, info_name="myst", help_option_names=list(HELP_NAMES))
    yield from _head("myst", "one signed, measured executable of a Linux program")
    yield from (".SH SYNOPSIS", f".B myst\n{_text('[OPTIONS] VERB [ARGS]...')}")
    yield ".SH DESCRIPTION"
    yield from _paragraphs(_myst)
    for heading, verbs in groupby(VERBS.items(), key=lambda item: item[1].heading):
        yield f".SS {_text(heading)}"
        yield from _list([(f"myst-{name}(1)", f"{entry.summary}.") for name, entry in verbs])
    yield from _options(_myst, context)
    yield from _examples(_myst.examples)
    yield ".SH EXIT STATUS"
    yield from _list(_EXIT_STATUS)
    yield ".SH ENVIRONMENT"
    yield from _list(_ENVIRONMENT)
    yield from _see_also([f"myst-{name}" for name in VERBS])


def _verb(name: str) -> Iterator[str]:
    entry = VERBS[name]
    command: Verb = importlib.import_module(f"mystikos.cli.{entry.module}").command
    context = click.Context(command, info_name=f"myst {name}", help_option_names=list(HELP_NAMES))

    yield from _head(f"myst-{name}", entry.summary)
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (".SH SYNOPSIS", f".B {_text(f'myst {name}')}\n{_text(usage)}")
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command)
    other = [f"`myst {alias}`" for alias, verb in ALIASES.items() if verb == name]
    if other:
        yield f".PP\nAlso {_text(' and '.join(other))}."
    yield from _options(command, context)
    yield from _examples(command.examples)
    yield from _see_also(["myst"])


def _head(name: str, summary: str) -> Iterator[str]:
    yield '.\\" Generated from src/mystikos/cli by `make docs`; a test compares.'
    yield f'.TH {_text(name.upper())} 1 "" "mystikos {mystikos.__version__}" "User Commands"'
    yield f".SH NAME\n{_text(name)} \\- {_text(summary)}"


def _paragraphs(command: click.Command) -> Iterator[str]:
    for number, paragraph in enumerate(paragraphs(command)):
        if number:
            yield ".PP"
        yield _filled(paragraph)


def _options(command: Verb | VerbGroup, context: click.Context) -> Iterator[str]:
    own, common = command.option_rows(context)
    yield ".SH OPTIONS"
    yield from _list([*own, *common])


def _list(rows: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Iterator[str]:
    for term, text in rows:
        yield f".TP\n.B {_text(term)}\n{_filled(text)}"


def _examples(examples: tuple[str, ...]) -> Iterator[str]:
    yield from (".SH EXAMPLES", ".nf", *map(_text, examples), ".fi")


def _see_also(names: list[str]) -> Iterator[str]:
    yield ".SH SEE ALSO"
    yield ",\n".join(f".BR {_text(name)} (1)" for name in names)


def _filled(text: str) -> str:
    """Running text, in lines that are short enough for every tool."""
    return _text("\n".join(textwrap.wrap(text, 72, break_long_words=False, break_on_hyphens=False)))


def _text(text: str) -> str:
    """Escaped for roff: backslashes, hyphens (to be copied as typed), other than ASCII, leading dots."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in escaped)
    escaped = re.sub(r"`([^`]*)`", r"\\fB\1\\fP", escaped)
    return re.sub(r"^(?=[.'])", r"\\&", escaped, flags=re.MULTILINE)
