"""What holds for every test."""

from __future__ import annotations

import signal

_IGNORED_IN_THE_BACKGROUND = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


def pytest_configure() -> None:
    """Signals end the programs that tests start, also where nohup or a script's ``&`` ignores them.

    A process inherits what is ignored, and both ``myst`` and packages respect it.
    """
    for number in _IGNORED_IN_THE_BACKGROUND:
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)
