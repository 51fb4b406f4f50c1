"""Whether this machine's own way out is broken: then no provider is to blame (research 4.4 of resilience).

Names that cannot be looked up, connections and TLS handshakes that come to nothing, at two hosts or more within two
seconds while no host answers: that is this pod's network, not two outages at once. Until somebody answers, such faults
count against nobody, and of the requests to hosts that have failed so one a second goes out to see; the others are told
at once. A host that nobody has tried yet may be asked all the same: two dead providers must not bar the way to a third
that is well. Hosts on this machine prove nothing either way.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.errors import ConnectFailed, ConnectTimeout, UpstreamFault

TOGETHER_S = 2.0
"""Faults at several hosts within this time are one trouble."""

PROBE_EVERY_S = 1.0
"""How often one request goes out to see whether the way is free again."""


class Uplink:
    """The way out of this process. One for all providers; `clock` gives seconds of a monotonic clock.

    `uneasy`: something has failed since the last answer, so that `answered` has something to do.
    """

    def __init__(self, clock: Callable[[], float], changed: Callable[[bool], None] = lambda down: None) -> None:
        self._clock = clock
        self._changed = changed
        self._faults: dict[str, float] = {}
        self._next_probe_s = 0.0
        self.down = False
        self.uneasy = False

    def answered(self, origin: str | None = None) -> None:
        """A host has answered, whatever it said. `origin`: which; one on this machine says nothing of the way out."""
        if origin is not None and not needs_way_out(origin):
            return
        self.uneasy = False
        self._faults.clear()
        if self.down:
            self.down = False
            self._changed(False)

    def failed(self, fault: UpstreamFault) -> None:
        """An attempt failed. Only what failed before anything reached a host, and was not refused there, counts."""
        if not is_ours_perhaps(fault):
            if fault.received:
                self.answered(None if fault.where is None else fault.where.origin)
            return
        assert fault.where is not None
        now_s = self._clock()
        self._faults[fault.where.origin] = now_s
        self.uneasy = True
        if self.down:
            return  # who has failed stays known until somebody answers
        for origin in [origin for origin, at_s in self._faults.items() if now_s - at_s > TOGETHER_S]:
            del self._faults[origin]
        if len(self._faults) >= 2:
            self.down = True
            self._next_probe_s = now_s + PROBE_EVERY_S
            self._changed(True)

    def wait_s(self, origin: str | None = None) -> float:
        """Seconds until a request may go out to see; 0.0: now. Always 0.0 while the way is free, or for a host at
        `origin` that has not failed.
        """
        if not self.down or (origin is not None and origin not in self._faults):
            return 0.0
        return max(self._next_probe_s - self._clock(), 0.0)

    def probe(self) -> None:
        """A request does go out to see."""
        self._next_probe_s = self._clock() + PROBE_EVERY_S


def is_ours_perhaps(fault: UpstreamFault) -> bool:
    """Whether a fault may be of this machine's network: nothing of the host was seen, not even that it refused."""
    if fault.where is None or not needs_way_out(fault.where.origin):
        return False
    return isinstance(fault, ConnectTimeout) or (isinstance(fault, ConnectFailed) and not fault.refused)


def needs_way_out(origin: str) -> bool:
    """Whether `origin` (``scheme://host:port``) is anywhere else than on this machine."""
    host = origin.partition("://")[2]
    return not host.startswith(("127.", "localhost", "[::1]"))
