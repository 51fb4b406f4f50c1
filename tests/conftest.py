"""What holds for all tests."""

from __future__ import annotations

import signal


def pytest_sessionstart() -> None:
    """Have SIGINT at its default. A shell has what it starts in the background ignore it, and the programs that are tested would
    inherit that: whoever sends them Ctrl-C would wait for ever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
