"""Write the generated pages of docs/reference (`make docs`); ``PAGES`` names them for the test too."""

from __future__ import annotations

from pathlib import Path

from mystikos.config.documents import reference

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"docs/reference/config.md": reference}


def main() -> None:
    for name, make in PAGES.items():
        (ROOT / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
