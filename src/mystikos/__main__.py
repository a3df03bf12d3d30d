"""``python -m mystikos`` and ``myst``: an interrupt ends them quietly, even while Python imports the rest.

Standard streams may be closed or broken.
"""

import contextlib
import io
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Where a shell started this in the background, interrupts are ignored, and stay so.
_handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _handled:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from mystikos.cli import main  # noqa: E402 (it is what may be interrupted)
from mystikos.cli.failures import INTERRUPTED  # noqa: E402


def run() -> int:
    """Run the command line of this process."""
    if _handled:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on, main() cleans up
    _open_standard_descriptors()
    if sys.stderr is not None:
        messages = io.BufferedWriter(_Messages(2, "wb", closefd=False))
        sys.stderr = io.TextIOWrapper(messages, sys.stderr.encoding, "backslashreplace", line_buffering=True)
    status = main()
    if status == INTERRUPTED:  # threads may wait for what the interrupt has broken off
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(status)
    return status


class _Messages(io.FileIO):
    """Standard error: that nobody can read a message changes nothing of what is done, and no exit code."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return memoryview(data).nbytes


def _open_standard_descriptors() -> None:
    """Fill those that the caller has closed (`<&-`): what is opened next would get one of them."""
    with contextlib.suppress(OSError):  # where there is no /dev, there is nothing to fill them with
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(run())
