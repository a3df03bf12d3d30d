"""Docstrings as Markdown, for the library's pages: what of reStructuredText the code uses, and doctests.

A griffe extension (mkdocs.yml names it). Examples become code, and so does what is indented below ``text::``;
simple tables are shown as they stand; roles (``:func:`name```) keep the name; pages of docs/ become links.

>>> markdown("See :func:`build`::\\n\\n    build(a)\\n\\nThen.")
'See `build`:\\n\\n```python\\nbuild(a)\\n```\\n\\nThen.'
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
_SKIP = re.compile(r"\s*# doctest: .*$", re.MULTILINE)
_PAGE = re.compile(r"\bdocs/([\w-]+)/([\w/-]+)\.md\b")
_TABLE = re.compile(r"^(?:=+ +)+=+$")


class Docstrings(griffe.Extension):
    """Rewrites every docstring before it is rendered."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """A docstring's text as Markdown."""
    text = _PAGE.sub(_link, _ROLE.sub(r"`\1`", text.strip("\n")))
    blocks = re.split(r"\n\s*\n", text)
    made: list[str] = []
    literal = False
    for number, block in enumerate(blocks):
        # the first line's indentation is none, so a text of nothing but code below it has lost its own
        if literal and (block.startswith("    ") or number == 1):
            _extend_code(made, textwrap.dedent(block))
            continue
        literal = block.endswith("::")
        if block.startswith(">>>"):
            made.append(_fence("pycon", _SKIP.sub("", block)))
        elif _TABLE.match(block.split("\n", 1)[0]):
            made.append(_fence("text", block))
        else:
            made.append(block[:-1] if literal else block)
    return "\n\n".join(made)


def _link(match: re.Match[str]) -> str:
    """A link to a page of the site, from docs/reference/library, where docstrings are shown."""
    return f"[{match[2].rpartition('/')[2]}](../../{match[1]}/{match[2]}.html)"


def _extend_code(made: list[str], code: str) -> None:
    """Another paragraph of a literal block goes on in the same code block."""
    if made[-1].startswith("```"):
        made[-1] = made[-1].removesuffix("\n```") + f"\n\n{code}\n```"
    else:
        made.append(_fence("toml" if code.startswith("[") else "python", code))


def _fence(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"
