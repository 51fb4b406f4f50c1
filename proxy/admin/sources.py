"""Where the admin port's facts come from: everything of the process that is shown in numbers and on the page."""

from __future__ import annotations

from typing import NamedTuple

from proxy.attempt.faults import Faults
from proxy.observe.health import Health
from proxy.observe.history import History
from proxy.observe.logs import LineWriter
from proxy.observe.meter import Meter
from proxy.observe.recent import Recent
from proxy.observe.recorder import Recorder
from proxy.observe.traces import Tracer
from proxy.serve.live import Live
from proxy.serve.mirror import Mirror


class Sources(NamedTuple):
    """`tracer`: None without traces."""

    health: Health
    live: Live
    recorder: Recorder
    recent: Recent
    history: History
    mirror: Mirror
    faults: Faults
    writer: LineWriter
    tracer: Tracer | None = None

    @property
    def meter(self) -> Meter:
        """The numbers of the requests."""
        return self.recorder.meter
