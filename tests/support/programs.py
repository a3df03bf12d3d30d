"""Real programs for tests: built by this machine's compilers, and run as if their directory were ``/``."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

HELLO = '#include <stdio.h>\nint main(int n, char **a) { printf("hello %d %s\\n", n, a[n - 1]); return 0; }\n'


def build(source: str, output: Path, *flags: str, compiler: str = "gcc") -> Path:
    """Compile C *source* to *output*."""
    output.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [compiler, "-x", "c", "-", "-x", "none", "-o", output, *flags],
        input=source,
        text=True,
        check=True,
        cwd=output.parent,
    )
    return output


def library(output: Path, *flags: str, name: str | None = None) -> Path:
    """A shared library without libc: ``int NAME(void)``, NAME from the file name (``libNAME.so``)."""
    function = name or output.name.removeprefix("lib").partition(".")[0]
    soname = f"-Wl,-soname,{output.name}"
    source = f"int {function}(void) {{ return 7; }}"
    return build(source, output, "-shared", "-fPIC", "-nostdlib", "-Wl,--no-as-needed", soname, *flags)


def run_inside(root: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run *command* with *root* as its root directory, and nothing else of this machine."""
    return subprocess.run(
        [*_chroot(), str(root), *command],
        capture_output=True,
        text=True,
        check=check,
        env={"PATH": "/usr/bin:/bin"},
    )


@cache
def _chroot() -> tuple[str, ...]:
    chroot = shutil.which("chroot", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    for prefix in ((), ("unshare", "--user", "--map-root-user")):
        command = (*prefix, chroot or "chroot")
        try:
            subprocess.run([*command, "/", "/bin/true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    pytest.skip("this machine allows neither chroot nor user namespaces")
