"""Docstrings become Markdown."""

from __future__ import annotations

import pytest

from docstrings import markdown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One line.", "One line."),
        ("See :func:`build`, :class:`~mystikos.config.Config`.", "See `build`, `Config`."),
        (
            "Stages::\n\n    a → b\n\n    b → c\n\nAfter.",
            "Stages:\n\n```python\na → b\n\nb → c\n```\n\nAfter.",
        ),
        ("All code::\n\nbuild()\nmore()", "All code:\n\n```python\nbuild()\nmore()\n```"),
        ('In a file::\n\n    [project]\n    a = "b"', 'In a file:\n\n```toml\n[project]\na = "b"\n```'),
        ("Text.\n\n>>> f(1)  # doctest: +SKIP\n2", "Text.\n\n```pycon\n>>> f(1)\n2\n```"),
        (
            "See docs/reference/package-format.md.",
            "See [package-format](../../reference/package-format.html).",
        ),
        (
            "Why: docs/design/decisions/0001-x.md.",
            "Why: [0001-x](../../design/decisions/0001-x.html).",
        ),
        ("Kinds:\n\n===  ===\na    b\n===  ===", "Kinds:\n\n```text\n===  ===\na    b\n===  ===\n```"),
    ],
)
def test_what_the_code_uses_of_restructured_text_is_understood(text: str, expected: str) -> None:
    assert markdown(text) == expected
