"""What holds for all tests."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

import pytest


def pytest_sessionstart() -> None:
    """Have SIGINT at its default. A shell has what it starts in the background ignore it, and the programs that are tested would
    inherit that: whoever sends them Ctrl-C would wait for ever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def port_held_on_ipv6() -> Iterator[int]:
    """A port that another listener has on ::1 alone. Skips the test on a machine without IPv6."""
    try:
        held = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with held:
        yield held.getsockname()[1]
