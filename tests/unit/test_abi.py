"""What Python shares with the runtime is what the runtime says."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("crate", "example", "kept"),
    [
        ("mystikos-abi", "emit_python", "_abi.py"),
        ("mystikos-kernel", "emit_syscalls", "_syscalls.json"),
    ],
)
def test_generated_files_are_what_the_runtime_says(crate: str, example: str, kept: str) -> None:
    command = ["cargo", "run", "--quiet", "--locked", "-p", crate, "--example", example]
    made = subprocess.run(command, cwd=ROOT / "runtime", check=True, capture_output=True, text=True)
    assert made.stdout == (ROOT / "src/mystikos" / kept).read_text(), "run `make abi`"
