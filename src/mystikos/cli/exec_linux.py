"""``myst exec-linux``: run a program of an application directory at once, in a plain Linux process."""

from __future__ import annotations

from mystikos.cli.executing import SETTINGS, Execution, execution_options
from mystikos.cli.verb import verb


@verb(
    "exec-linux",
    context_settings=SETTINGS,
    examples=[
        "myst exec-linux appdir /bin/hello world",
        "myst exec-linux --strace-filter=openat:read appdir /bin/hello",
    ],
)
@execution_options
def command(execution: Execution) -> None:
    """Run PROGRAM, a path in ROOTFS (a directory or a CPIO archive), in a plain Linux process.

    For development: full speed and traces, no isolation. Nothing is written to disk, and the exit code is
    the program's.
    """
    execution.start("linux")
