"""``python -m mystikos``: the same as the ``myst`` command."""

from mystikos.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
