"""``python -m mystikos`` and ``myst``: an interrupt ends them quietly, even while Python imports the rest."""

import signal
import sys

# Where a shell started this in the background, interrupts are ignored, and stay so.
_handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _handled:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from mystikos.cli import main  # noqa: E402 (it is what may be interrupted)


def run() -> int:
    """Run the command line of this process."""
    if _handled:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on, main() cleans up
    return main()


if __name__ == "__main__":
    sys.exit(run())
