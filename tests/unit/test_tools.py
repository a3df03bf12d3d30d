"""The build's own tools: what they place, what they ask for, what they say when something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tools import build_runtime, generate_docs

ROOT = Path(__file__).resolve().parents[2]


def test_a_missing_cargo_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(build_runtime.RuntimeBuildError, match="apt-get install cargo-web rustc-web"):
        build_runtime.find_cargo()


def test_cargo_is_found_where_rustup_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cargo = tmp_path / ".cargo/bin/cargo"
    cargo.parent.mkdir(parents=True)
    cargo.touch(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert build_runtime.find_cargo() == str(cargo)


def test_a_cargo_that_fails_is_told_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cargo = tmp_path / "bin/cargo"
    cargo.parent.mkdir()
    cargo.write_text("#!/bin/sh\nexit 7\n")
    cargo.chmod(0o755)
    (tmp_path / "runtime").mkdir()
    (tmp_path / "src/mystikos").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{cargo.parent}:{os.environ['PATH']}")

    with pytest.raises(build_runtime.RuntimeBuildError, match="cargo fetch --locked"):
        build_runtime.build(tmp_path)


def test_an_unchanged_image_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(b"image")
    placed = build_runtime._place(tmp_path / "made", tmp_path / "placed")
    before = placed.stat()

    build_runtime._place(tmp_path / "made", placed)
    assert placed.stat().st_mtime_ns == before.st_mtime_ns

    (tmp_path / "made").write_bytes(b"newer")
    build_runtime._place(tmp_path / "made", placed)
    assert placed.read_bytes() == b"newer"
    assert placed.stat().st_ino != before.st_ino  # a running launcher keeps its file
    assert placed.stat().st_mode & 0o777 == 0o755


def test_no_path_of_the_building_machine_is_in_an_image() -> None:
    placed = ROOT / "src/mystikos/_runtime"
    for image in build_runtime.IMAGES:
        content = (placed / image.placed).read_bytes()
        for path in (ROOT, Path.home() / ".cargo"):
            assert os.fsencode(path) + b"/" not in content, f"{image.placed} tells {path}"


@pytest.mark.parametrize("page", generate_docs.PAGES)
def test_a_generated_page_is_what_the_code_says(page: str) -> None:
    assert (ROOT / page).read_text(encoding="utf-8") == generate_docs.PAGES[page](), "run `make docs`"


def setup(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "tools/setup", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_setup_is_quiet_where_everything_is_there() -> None:
    done = setup("build")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_setup_explains_itself() -> None:
    assert setup().stderr == "usage: tools/setup build|test\n"
    assert "is missing or older than 3.11" in setup("build", PYTHON3="python-of-nowhere").stderr


def test_setup_says_what_is_missing_where_it_cannot_install(tmp_path: Path) -> None:
    """On a system without apt-get: every tool but Rust is there."""
    for name in ("bash", "sort", "head", "cc", "ld", "as", "readelf", "id"):
        found = shutil.which(name)
        assert found is not None, name
        (tmp_path / name).symlink_to(found)

    done = setup("build", PATH=str(tmp_path), HOME=str(tmp_path), PYTHON3=sys.executable)

    assert done.returncode == 1
    assert "setup: missing: Rust and cargo, 1.90 or newer\n" in done.stderr
    assert "(Debian packages: cargo-web rustc-web)" in done.stderr
