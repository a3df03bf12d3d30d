"""The facts of a package or a directory as one page for a browser, which needs nothing else.

    Path("report.html").write_bytes(report(inspect_path(Path("app"))))

Names and settings are the package's own words, and a package may be hostile: the template escapes whatever
it is given, and the page's Content-Security-Policy allows its own style and script and nothing else, so that
what slipped through could neither run nor ask anything of anybody. The same facts give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from mystikos.inspection import PackageFacts, TreeFacts

__all__ = ["report"]


def report(facts: PackageFacts | TreeFacts) -> bytes:
    """The page, HTML in UTF-8."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    from mystikos.report import memory_map as picture
    from mystikos.report.tables import tables
    from mystikos.report.words import heading, tiles, warnings

    style, script = _file("report.css"), _file("report.js")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page = environment.from_string(_file("report.html.j2")).render(
        facts=facts,
        heading=heading(facts),
        warnings=warnings(facts),
        tiles=tiles(facts),
        picture=picture,
        map=picture.memory_map(facts.enclave) if isinstance(facts, PackageFacts) else None,
        tables=tuple(tables(facts)),
        style=Markup(style),  # ours, and without "</"
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )
    return page.encode("utf-8", "backslashreplace")


def _file(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The name of an inline style or script in a Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
