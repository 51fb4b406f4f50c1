"""The end of a request: what it cost is reckoned, its numbers are counted, its line is logged, and who watches is told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from proxy.config.schema import Config
from proxy.observe.logs import Logger
from proxy.observe.meter import Meter
from proxy.observe.record import Record
from proxy.policy.cost import charge_usd
from proxy.wire.usage import UsageWatch

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
        self._later: set[asyncio.Future[None]] = set()
        self._thread: ThreadPoolExecutor | None = None

    def end(self, record: Record, config: Config, slow: UsageWatch | None = None) -> None:
        """The request of `record` has ended; `config`: the one it was served under.

        `slow`: what tells its usage takes long, so it is asked in a thread and the rest follows then.
        """
        now = time.perf_counter()
        if slow is None or len(self._later) >= LATER_MAX:
            self._close(record, config, now)
        else:
            later = asyncio.ensure_future(self._once_read(record, config, now, slow))
            self._later.add(later)
            later.add_done_callback(self._later.discard)

    async def stop(self) -> None:
        """Wait for what is still being read, which takes a fraction of a second."""
        if self._later:
            await asyncio.wait(self._later)
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    async def _once_read(self, record: Record, config: Config, now: float, slow: UsageWatch) -> None:
        if self._thread is None:
            # One of its own: it must not stand in the way of names that are being looked up.
            self._thread = ThreadPoolExecutor(1, "usage")
        record.usage = await asyncio.get_running_loop().run_in_executor(self._thread, slow.usage)
        self._close(record, config, now)

    def _close(self, record: Record, config: Config, now: float) -> None:
        usage = record.usage
        if usage is not None:
            model = config.models.get(record.target or "")
            record.cost_usd = charge_usd(None if model is None else model.price, usage, batch=usage.batch)
        record.ended_at = now
        self.meter.add(record, config.models, now)
        if self._ended:
            ended_at_s = time.time()
            for ended in self._ended:
                ended(record, ended_at_s)
        self._log(record, config.log.sample, now)

    def _log(self, record: Record, sample: float, now: float) -> None:
        """The one line: a warning when the request did not end well for Fusebox's own reasons.

        Of successes at the first attempt a sample may do; whatever somebody might look for is always there.
        """
        logger = self._logger
        if record.error_code is not None:
            if logger.level <= 30:
                logger.line("warning", "request", record.line(now))
        elif logger.level <= 20:
            if sample == 1.0:
                logger.line("info", "request", record.line(now))
            elif record.status >= 400 or record.tried is not None or self._roll() < sample:
                fields = record.line(now)
                fields["sample"] = sample
                logger.line("info", "request", fields)
