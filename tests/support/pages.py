"""Pages of documentation as tests see them: their code blocks, in order, and what comes of running them.

* ``sh`` is executed, in the same shell as the blocks before it. A title "exit code 1" or "exit code 0 or 1"
  tells how its last command ends.
* ``python`` is executed, in the directory of that shell.
* ``output`` is what the block before it prints; ``…`` in a line stands for any text, alone for any lines.
  With the title "on a machine without SGX" it is compared on those.
* Others are checked to be what they say (``json``, ``toml``), or are only shown (``text``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tools.docs_site import expand

ROOT = Path(__file__).resolve().parents[2]
PAGES = [str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = ("sh", "python")
WITHOUT_SGX = "on a machine without SGX"
SGX = Path("/dev/sgx_enclave")

_FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]*)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line`` is where it begins on the page with all that the page includes."""

    language: str
    title: str
    text: str
    line: int

    @property
    def exit_codes(self) -> list[str]:
        """How the block's last command may end."""
        match = re.match(r"exit code (\d+)(?: or (\d+))?", self.title)
        return [code for code in match.groups() if code] if match else ["0"]


def text_of(page: str) -> str:
    """The Markdown of a page with what it includes."""
    return expand((ROOT / page).read_text(encoding="utf-8"), PurePosixPath(page))


def blocks_of(text: str) -> list[Block]:
    """All fenced blocks of a text."""
    return [
        Block(match[1], match[2] or "", match[3], text.count("\n", 0, match.start()) + 1)
        for match in _FENCE.finditer(text)
    ]


def has_commands(page: str) -> bool:
    return any(block.language in COMMANDS for block in blocks_of(text_of(page)))


def environment(directory: Path) -> dict[str, str]:
    """The caller's environment, with this tree's ``myst`` and ``python`` in front (in ``directory``)."""
    directory.mkdir()
    for name, arguments in (("myst", "-m mystikos"), ("python", "")):
        shim = directory / name
        shim.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}/src" exec "{sys.executable}" {arguments} "$@"\n')
        shim.chmod(0o755)
    return {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}", "NO_COLOR": "1"}


def run(page: str, home: Path, variables: dict[str, str], outputs: Path) -> None:
    """Execute the page's commands in ``home``, in one shell, and compare what they print."""
    blocks = blocks_of(text_of(page))
    outputs.mkdir()
    script = "\n".join(_steps(number, block, outputs) for number, block in enumerate(blocks))
    command = ["bash", "-eu", "-c", script]
    done = subprocess.run(
        command, cwd=home, env=variables, stdin=subprocess.DEVNULL, check=False, timeout=240
    )

    printed = {int(path.name): path.read_text(errors="backslashreplace") for path in outputs.iterdir()}
    if done.returncode:
        last = max(printed)
        raise AssertionError(
            f"{page}:{blocks[last].line}: exit code {done.returncode} of\n{blocks[last].text}{printed[last]}"
        )
    for number, block in enumerate(blocks):
        if block.language == "output" and not (block.title == WITHOUT_SGX and SGX.exists()):
            _compare(page, block, printed[max(n for n in printed if n < number)])
    shutil.rmtree(outputs)


def _steps(number: int, block: Block, outputs: Path) -> str:
    if block.language not in COMMANDS:
        return ""
    text = block.text
    if block.language == "python":
        text = f"PYTHONPATH='{ROOT}/src' '{sys.executable}' - <<'END_OF_EXAMPLE'\n{text}END_OF_EXAMPLE\n"
    if block.exit_codes != ["0"]:
        text = (
            f"set +e\n{text}status=$?\nset -e\n"
            f'case $status in {"|".join(block.exit_codes)}) ;; *) echo "exit code $status"; exit 1;; esac\n'
        )
    return f"exec > '{outputs}/{number}' 2>&1\n{text}"


def _compare(page: str, block: Block, printed: str) -> None:
    assert matches(block.text, printed), (
        f"{page}:{block.line}: expected\n{block.text}\nbut this was printed\n{printed}"
    )


def matches(expected: str, printed: str) -> bool:
    """Whether ``printed`` is what an ``output`` block shows."""
    lines = [
        "(?:.*\n)*?"
        if line.strip() == "…"
        else ".*?".join(map(re.escape, line.rstrip().split("…"))) + r" *\n"
        for line in expected.splitlines()
    ]
    return re.fullmatch("".join(lines), printed if printed.endswith("\n") else printed + "\n") is not None


def without_blocks(text: str) -> str:
    """The text around the fenced blocks."""
    return _FENCE.sub("", text)
