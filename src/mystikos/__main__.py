"""``python -m mystikos`` and ``myst``; an interrupt ends them quietly, while Python imports it, too."""

import signal
import sys

_handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored, by request
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
