"""Completion in the shells themselves, driven as a person does: type, press tab, look at the line."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mystikos.cli import VERBS, main
from mystikos.cli.completion import SHELLS

SRC = str(Path(__file__).resolve().parents[2] / "src")
PATIENCE = 60  # seconds: a busy machine is no failure
START = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}
# The prompt is written so that it is not on the screen before the shell has understood it.
SET_UP = {
    "bash": "PS1='rea''dy> '; bind 'set enable-bracketed-paste off'; eval \"$(myst completion bash)\"\n",
    "zsh": "PS1='rea''dy> '; autoload -U compinit; compinit -u -d .dump; eval \"$(myst completion zsh)\"\n",
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with a file of an unusual name, and `myst` in its bin."""
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin/myst"
    shim.write_text(f'#!/bin/sh\nexec env PYTHONPATH="{SRC}" "{sys.executable}" -m mystikos "$@"\n')
    shim.chmod(0o755)
    (tmp_path / "hello-world").touch()
    return tmp_path


def environment(home: Path) -> dict[str, str]:
    return {"PATH": f"{home}/bin:{os.environ['PATH']}", "HOME": str(home), "TERM": "dumb", "LANG": "C.UTF-8"}


def needs(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")


class Typist:
    """Somebody at an interactive shell."""

    def __init__(self, shell: str, home: Path) -> None:
        self._screen = ""
        pid, self._terminal = pty.fork()
        if pid == 0:
            os.chdir(home)
            os.execvpe(shell, START[shell], environment(home))
        self._pid = pid
        self._type(SET_UP[shell])
        self._wait_for("ready> ", after=0)

    def complete(self, typed: str, becomes: str) -> None:
        """Type, press tab, and see the line become something."""
        mark = len(self._screen)
        self._type(typed + "\t")
        self._wait_for(becomes, after=mark)
        self._type("\x15")  # clear the line

    def close(self) -> None:
        os.close(self._terminal)
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)

    def _type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def _wait_for(self, text: str, after: int) -> None:
        end = time.monotonic() + PATIENCE
        while text not in self._screen[after:]:
            ready, _, _ = select.select([self._terminal], [], [], max(end - time.monotonic(), 0))
            assert ready, f"{text!r} is not on the screen: {self._screen[after:]!r}"
            self._screen += os.read(self._terminal, 4096).decode(errors="replace")


@pytest.mark.parametrize("shell", START)
def test_verbs_options_values_and_files_are_completed(shell: str, home: Path) -> None:
    needs(shell)
    typist = Typist(shell, home)
    try:
        typist.complete("myst veri", "myst verify ")
        typist.complete("myst mkcp", "myst mkcpio ")
        typist.complete("myst extract --outp", "myst extract --output ")
        typist.complete("myst extract --only sig", "sigstruct ")
        typist.complete("myst verify hel", "hello-world")
        typist.complete("myst completion fi", "fish ")
    finally:
        typist.close()


def test_fish_completes_verbs_options_and_values(home: Path) -> None:
    needs("fish")
    (home / "myst.fish").write_bytes(run(home, "myst", "completion", "fish"))

    def candidates(line: str) -> list[str]:
        out = run(home, "fish", "--no-config", "-c", f"source myst.fish; complete -C '{line}'")
        return [candidate.split("\t")[0] for candidate in out.decode().splitlines()]

    assert candidates("myst veri") == ["verify"]
    assert set(candidates("myst ")) >= set(VERBS)
    assert candidates("myst extract --outp") == ["--output"]
    assert candidates("myst extract --only sig") == ["sigstruct"]
    assert "hello-world" in candidates("myst verify hel")


def run(home: Path, *command: str) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, cwd=home, env=environment(home)).stdout


def test_completing_a_verb_imports_none(home: Path) -> None:
    program = (
        "import os, sys; from mystikos.cli import main\n"
        "os.environ |= {'_MYST_COMPLETE': 'bash_complete', 'COMP_WORDS': 'myst ver', 'COMP_CWORD': '1'}\n"
        "try: main([])\n"
        "finally: sys.exit(f'imported {x}' if (x := {'numpy', 'rich', 'iced_x86'} & set(sys.modules)) else 0)"
    )
    settings = {**environment(home), "PYTHONPATH": SRC}
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, env=settings, text=True
    )

    assert (done.stdout, done.stderr) == ("plain,verify\n", "")


@pytest.mark.parametrize("asked", [{"COMP_CWORD": "x"}, {}, {"_MYST_COMPLETE": "tcsh_complete"}])
def test_a_completion_that_fails_leaves_the_line_alone(home: Path, asked: dict[str, str]) -> None:
    question = {"_MYST_COMPLETE": "bash_complete", "COMP_WORDS": "myst nonsense --x", "COMP_CWORD": "2"}
    settings = {**environment(home), **question, **asked}
    done = subprocess.run(["myst"], check=False, capture_output=True, env=settings, text=True)

    assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_that_is_meant_is_that_of_the_user(
    shell: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert main(["completion"]) == 0
    own = capsys.readouterr().out

    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == own


def test_an_unknown_shell_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")

    assert main(["completion"]) == 2
    assert 'your shell ($SHELL) is "tcsh", expected one of bash, zsh, fish' in capsys.readouterr().err
    assert main(["completion", "fsh"]) == 2
    assert 'did you mean "fish"?' in capsys.readouterr().err
