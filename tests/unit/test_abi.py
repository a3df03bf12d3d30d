"""The constants that Python shares with the runtime are those of the runtime."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_generated_constants_are_what_the_runtime_says() -> None:
    command = ["cargo", "run", "--quiet", "--locked", "-p", "mystikos-abi", "--example", "emit_python"]
    made = subprocess.run(command, cwd=ROOT / "runtime", check=True, capture_output=True, text=True)
    kept = (ROOT / "src/mystikos/_abi.py").read_text()
    assert made.stdout == kept, "run `make abi`"
