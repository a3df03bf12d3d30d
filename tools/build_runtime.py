"""Build the native runtime and place it where the Python package carries it.

    python3 tools/build_runtime.py

runs ``cargo build --locked --release`` in ``runtime/`` and copies what ``RUNTIME_FILES`` names into
``src/mystikos/_runtime/``. The wheel's build hook does the same. Needs the standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TARGET = "x86_64-unknown-linux-gnu"

# file that cargo makes → name under src/mystikos/_runtime
RUNTIME_FILES = {
    "myst-launcher": "myst-launcher",
    "libmystkernel": "libmystkernel",
    "libmystcrt": "libmystcrt.so",
}


class RuntimeBuildError(Exception):
    """The runtime cannot be built; the message says what to do."""


def find_cargo() -> str:
    """Path of cargo: from PATH, or where rustup puts it (build front ends often have a bare PATH)."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path.home() / ".cargo" / "bin")])
    cargo = shutil.which("cargo", path=search)
    if cargo is None:
        raise RuntimeBuildError(
            "the native runtime is written in Rust and cargo was not found.\n"
            "On Debian 12: apt-get install cargo-web rustc-web; elsewhere: rustup (Rust 1.90 or newer)."
        )
    return cargo


def build(root: Path) -> list[Path]:
    """Build ``root/runtime`` and return the placed files."""
    manifest = root / "runtime" / "Cargo.toml"
    command = [find_cargo(), "build", "--locked", "--release", "--target", TARGET]
    try:
        subprocess.run([*command, "--manifest-path", str(manifest)], check=True, cwd=manifest.parent)
    except subprocess.CalledProcessError as exc:
        raise RuntimeBuildError(f"cargo build failed in {manifest.parent} (its messages are above)") from exc

    made = Path(os.environ.get("CARGO_TARGET_DIR", manifest.parent / "target")) / TARGET / "release"
    missing = [name for name in RUNTIME_FILES if not (made / name).is_file()]
    if missing:
        raise RuntimeBuildError(f"cargo built no {', '.join(missing)} in {made}")

    placed = root / "src" / "mystikos" / "_runtime"
    placed.mkdir(exist_ok=True)
    return [_place(made / name, placed / packaged) for name, packaged in RUNTIME_FILES.items()]


def _place(source: Path, destination: Path) -> Path:
    """Copy in one step, so that a running launcher is never overwritten; leave an equal file alone."""
    if not destination.is_file() or destination.read_bytes() != source.read_bytes():
        partial = destination.with_name(destination.name + ".part")
        shutil.copyfile(source, partial)
        partial.chmod(0o755)
        partial.replace(destination)
    return destination


def main() -> int:
    try:
        build(Path(__file__).resolve().parent.parent)
    except RuntimeBuildError as error:
        print(f"build_runtime: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
