"""The end of a request: what it cost is reckoned, its numbers are counted, its line is logged, and who watches is told.

None of this is in anybody's way, so requests are gathered for it and dealt with together: the same code run many times in
a row finds itself in the processor's caches, and costs half of what it does at the end of each request.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from proxy.config.schema import Config
from proxy.observe.logs import Logger
from proxy.observe.meter import Meter
from proxy.observe.record import Record
from proxy.policy.cost import charge_usd
from proxy.wire.usage import UsageWatch

GATHERED_MAX = 32
"""Requests that are gathered; then they are dealt with at once. Their records, 1 KB each, should stay in a cache, too."""

GATHER_S = 0.02
"""How long a request may wait to be dealt with, in seconds. Its log line is written within `logs.FLUSH_EVERY_S` anyway."""

LATER_MAX = 16
"""Answers that wait until their usage has been read in the thread; one more is unmetered. Each holds 1 MB at most."""

Ended = Callable[[Record, float], None]
"""Hears of a request that has ended: its record, and when, in seconds since 1970. Must not raise, nor take long."""


class Recorder:
    """Ends requests. `ended`: who hears of each; `roll`: numbers from 0 up to 1, for the lines that are sampled."""

    def __init__(
        self,
        logger: Logger,
        meter: Meter | None = None,
        ended: tuple[Ended, ...] = (),
        roll: Callable[[], float] = random.random,
    ) -> None:
        self._logger = logger
        self.meter = meter or Meter()
        self._ended = ended
        self._roll = roll
        self._loop = asyncio.get_running_loop()
        self._gathered: deque[tuple[Record, Config]] = deque()
        self._soon: asyncio.TimerHandle | None = None
        self._later: set[asyncio.Future[None]] = set()
        self._thread: ThreadPoolExecutor | None = None

    def end(self, record: Record, config: Config, slow: UsageWatch | None = None) -> None:
        """The request of `record` has ended; `config`: the one it was served under. The rest follows soon.

        `slow`: what tells its usage takes long, so it is asked in a thread before anything else.
        """
        record.ended_at = time.perf_counter()
        if slow is None or len(self._later) >= LATER_MAX:
            self._gather(record, config)
        else:
            later = asyncio.ensure_future(self._once_read(record, config, slow))
            self._later.add(later)
            later.add_done_callback(self._later.discard)

    def settle(self) -> None:
        """Deal with all that have been gathered: whoever reads numbers must see every request that has ended."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if not self._gathered:
            return
        offset_s = time.time() - time.perf_counter()
        while self._gathered:
            record, config = self._gathered.popleft()
            try:
                self._close(record, config, record.ended_at + offset_s)
            except Exception:  # a fault of our own in one must not cost the others their lines
                self._logger.exception("request_not_recorded", request_id=record.request_id)

    async def stop(self) -> None:
        """Wait for what is still being read, which takes a fraction of a second; then all requests are dealt with."""
        if self._later:
            await asyncio.wait(self._later)
        if self._thread is not None:
            self._thread.shutdown(wait=False)
        self.settle()

    def _gather(self, record: Record, config: Config) -> None:
        gathered = self._gathered
        gathered.append((record, config))
        if len(gathered) >= GATHERED_MAX:
            self.settle()
        elif self._soon is None:
            self._soon = self._loop.call_later(GATHER_S, self.settle)

    async def _once_read(self, record: Record, config: Config, slow: UsageWatch) -> None:
        if self._thread is None:
            # One of its own: it must not stand in the way of names that are being looked up.
            self._thread = ThreadPoolExecutor(1, "usage")
        record.usage = await self._loop.run_in_executor(self._thread, slow.usage)
        self._gather(record, config)

    def _close(self, record: Record, config: Config, ended_at_s: float) -> None:
        usage = record.usage
        if usage is not None:
            model = config.models.get(record.target or "")
            record.cost_usd = charge_usd(None if model is None else model.price, usage, batch=usage.batch)
        self.meter.add(record, config.models)
        for ended in self._ended:
            ended(record, ended_at_s)
        self._log(record, config.log.sample, ended_at_s)

    def _log(self, record: Record, sample: float, ended_at_s: float) -> None:
        """The one line: a warning when the request did not end well for Fusebox's own reasons.

        Of successes at the first attempt a sample may do; whatever somebody might look for is always there.
        """
        logger = self._logger
        if record.error_code is not None:
            if logger.level <= 30:
                logger.line("warning", "request", record.line(), ended_at_s)
        elif logger.level <= 20:
            if sample == 1.0:
                logger.line("info", "request", record.line(), ended_at_s)
            elif record.status >= 400 or record.tried is not None or self._roll() < sample:
                fields = record.line()
                fields["sample"] = sample
                logger.line("info", "request", fields, ended_at_s)
