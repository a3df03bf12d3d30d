"""Build the native runtime and place it where the Python package carries it.

    python3 tools/build_runtime.py

runs ``cargo build --locked --release`` in ``runtime/`` and copies what ``IMAGES`` names into
``src/mystikos/_runtime/``. The wheel's build hook does the same. Needs the standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

TARGET = "x86_64-unknown-linux-gnu"


class Image(NamedTuple):
    """One native file: the crate that links it, what cargo calls it, its name in the package."""

    crate: str
    binary: str
    placed: str


IMAGES = (
    Image("mystikos-host", "myst-launcher", "myst-launcher"),
    Image("mystikos-kernel", "libmystkernel", "libmystkernel"),
    Image("mystikos-crt", "libmystcrt", "libmystcrt.so"),
)


RUSTC_VERSION = "rustc-version"  # what the packager tells of how the images were made


class RuntimeBuildError(Exception):
    """The runtime cannot be built; the message says what to do."""


def find_cargo() -> str:
    """Path of cargo: from PATH, or where rustup puts it (build front ends often have a bare PATH)."""
    cargo = shutil.which("cargo", path=_search_path())
    if cargo is None:
        raise RuntimeBuildError(
            "the native runtime is written in Rust and cargo was not found.\n"
            "On Debian 12: apt-get install cargo-web rustc-web; elsewhere: rustup (Rust 1.90 or newer)."
        )
    return cargo


def _search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path.home() / ".cargo" / "bin")])


def build(root: Path) -> list[Path]:
    """Build ``root/runtime`` and return the placed files."""
    cargo = find_cargo()
    manifest = root / "runtime" / "Cargo.toml"
    made = Path(os.environ.get("CARGO_TARGET_DIR", manifest.parent / "target")) / TARGET / "release"
    placed = root / "src" / "mystikos" / "_runtime"
    placed.mkdir(exist_ok=True)

    _run([cargo, "fetch", "--locked", "--quiet", "--target", TARGET], manifest)
    flags = f"target.{TARGET}.rustflags={_rust_flags(root)}"
    for image in IMAGES:
        command = [cargo, "build", "--locked", "--release", "--target", TARGET, "--config", flags]
        _run([*command, "-p", image.crate, "--bin", image.binary, "--features", "image"], manifest)
    version = made / RUSTC_VERSION
    version.write_text(_rustc_version(), encoding="utf-8")
    files = [(made / image.binary, placed / image.placed, 0o755) for image in IMAGES]
    return [_place(*file) for file in [*files, (version, placed / RUSTC_VERSION, 0o644)]]


def _rustc_version() -> str:
    """What the compiler that cargo uses says of itself, on one line."""
    rustc = os.environ.get("RUSTC") or shutil.which("rustc", path=_search_path())
    if rustc is None:
        raise RuntimeBuildError("cargo was found and rustc was not: install it beside cargo")
    done = subprocess.run([rustc, "--version"], check=True, capture_output=True, text=True)
    return done.stdout


def build_hostile_launcher(root: Path) -> Path:
    """Build the launcher that lies to its kernel, for tests. No package is made from it."""
    manifest = root / "runtime" / "Cargo.toml"
    target = Path(os.environ.get("CARGO_TARGET_DIR", manifest.parent / "target")) / "hostile"
    features = ["--features", "image,hostile", "--target-dir", str(target)]
    command = [find_cargo(), "build", "--locked", "--quiet", "--release", "--target", TARGET, *features]
    _run([*command, "-p", IMAGES[0].crate, "--bin", IMAGES[0].binary], manifest)
    return target / TARGET / "release" / IMAGES[0].binary


def _rust_flags(root: Path) -> list[str]:
    """Keep this machine's paths out of the images: they are measured and must not depend on it."""
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    sources = sorted(home.glob("registry/src/*"))
    return [f"--remap-path-prefix={source}=/crates" for source in sources] + [
        f"--remap-path-prefix={root}=/mystikos"
    ]


def _run(command: list[str], manifest: Path) -> None:
    own = {"RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"}  # they would replace ours
    environment = {name: value for name, value in os.environ.items() if name not in own}
    try:
        subprocess.run(command, check=True, cwd=manifest.parent, env=environment)
    except subprocess.CalledProcessError as exc:
        raise RuntimeBuildError(f"`{' '.join(command)}` failed in {manifest.parent}") from exc


def _place(source: Path, destination: Path, mode: int = 0o755) -> Path:
    """Copy in one step, so that a running launcher is never overwritten; leave an equal file alone."""
    if not destination.is_file() or destination.read_bytes() != source.read_bytes():
        partial = destination.with_name(destination.name + ".part")
        shutil.copyfile(source, partial)
        partial.chmod(mode)
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
