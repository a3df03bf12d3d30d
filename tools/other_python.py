"""Make a second virtual environment of another Python, for tests that compare what two of them make.

    python3 tools/other_python.py .venv-other

looks for the newest Python of another minor version than the one that runs this, and installs there what
mystikos depends on, in the versions of tools/constraints.txt. Where there is none, nothing is made, and the
tests that want it say so. Needs the standard library only.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
_VERSION = "import sys; print(*sys.version_info[:2])"


def found() -> dict[tuple[int, int], Path]:
    """The Pythons of this machine by version: those in PATH, and those that pyenv installed."""
    places = [Path(place) for place in os.environ.get("PATH", os.defpath).split(os.pathsep)]
    places += sorted((Path.home() / ".pyenv/versions").glob("*/bin"))
    pythons: dict[tuple[int, int], Path] = {}
    for place in places:
        for path in sorted(place.glob("python3*")):
            if re.fullmatch(r"python3(\.\d+)?", path.name) and (version := _version_of(path)):
                pythons.setdefault(version, path)
    return pythons


def _version_of(python: Path) -> tuple[int, int] | None:
    try:
        done = subprocess.run([python, "-c", _VERSION], check=True, capture_output=True, text=True)
        major, minor = map(int, done.stdout.split())
    except (OSError, subprocess.CalledProcessError, ValueError):  # a shim of pyenv without its version
        return None
    return major, minor


def newest_other() -> Path | None:
    """The newest one that is not of this version."""
    others = {v: path for v, path in found().items() if v != sys.version_info[:2] and v >= OLDEST}
    return others[max(others)] if others else None


def dependencies() -> list[str]:
    """What mystikos needs to run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [str(name) for name in project["dependencies"]]


def main() -> int:
    python = newest_other()
    if python is None:
        print("other_python: no Python of another version here", file=sys.stderr)
        return 0
    home = Path(sys.argv[1])
    subprocess.run([python, "-m", "venv", "--clear", home], check=True)
    pip = [str(home / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(ROOT / "tools/constraints.txt"), *dependencies()], check=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
