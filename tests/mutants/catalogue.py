"""The faults: each is one replacement in one file, and a mistake that a real breaker has had or easily could have.

The first fifteen are those of the research into circuit breakers (open not idempotent, stale verdicts, lost permits and
so on); the others guard what this breaker has beyond that.
"""

from __future__ import annotations

from typing import NamedTuple

BREAKER = "proxy/attempt/breaker.py"
CIRCUIT = "proxy/attempt/circuit.py"
PERMIT = "proxy/attempt/permit.py"
WINDOW = "proxy/attempt/window.py"


class Mutant(NamedTuple):
    """`old` stands exactly once in `path` and becomes `new`."""

    name: str
    path: str
    old: str
    new: str


MUTANTS = (
    Mutant(
        "open-not-idempotent",
        BREAKER,
        '        if old == "open":\n            return False\n',
        "",
    ),
    Mutant(
        "stale-verdict-accepted",
        BREAKER,
        "        return self._breaker._state is self\n",
        "        return True\n",
    ),
    Mutant(
        "no-permit-cap",
        BREAKER,
        "        return self._breaker.success_counter + len(self.out) < PROBES\n",
        "        return True\n",
    ),
    Mutant(
        "permit-kept-on-ignore",
        BREAKER,
        "    def ignored(self, permit: Permit) -> None:\n        self._returned(permit)\n",
        "    def ignored(self, permit: Permit) -> None:\n        pass\n",
    ),
    Mutant(
        "verdict-twice",
        PERMIT,
        "            return\n        self.judge = None\n",
        "            return\n",
    ),
    Mutant(
        "success-wipes-window",
        BREAKER,
        '        """Nothing: pybreaker calls this on every success, and a window that one success wipes has no failure rate."""',
        "        self._window.clear(self._clock())",
    ),
    Mutant(
        "rate-above-instead-of-reached",
        CIRCUIT,
        "self.failed / total >= rules.failure_rate",
        "self.failed / total > rules.failure_rate",
    ),
    Mutant(
        "slot-off-by-one",
        WINDOW,
        "if slot.number > too_old]",
        "if slot.number > too_old + 1]",
    ),
    Mutant(
        "no-cap-on-open-time",
        CIRCUIT,
        "max(OPEN_MAX_S, open_for_s))",
        "1e9)",
    ),
    Mutant(
        "window-survives-close",
        BREAKER,
        "        self.window.clear(self.clock())\n",
        "",
    ),
    Mutant(
        "no-lease",
        PERMIT,
        "if ends_s <= now_s]",
        "if False]",
    ),
    Mutant(
        "streak-without-short-window",
        CIRCUIT,
        "self.streak >= STREAK and self.recent_failed / recent >= rules.failure_rate",
        "self.streak >= STREAK",
    ),
    Mutant(
        "no-min-requests",
        CIRCUIT,
        "total >= rules.min_requests and ",
        "",
    ),
    Mutant(
        "streak-not-reset",
        WINDOW,
        "        self._recent_now.ok += 1\n        self._streak = 0\n",
        "        self._recent_now.ok += 1\n",
    ),
    Mutant(
        "half-open-failure-ignored",
        BREAKER,
        '        self._breaker.open("probe_failed")\n',
        "",
    ),
    # Beyond the research's fifteen.
    Mutant(
        "failure-twice",
        PERMIT,
        "        judge, self.judge = self.judge, None\n        if judge is not None:\n            judge.failed(",
        "        judge = self.judge\n        if judge is not None:\n            judge.failed(",
    ),
    Mutant(
        "stale-slot-not-emptied",
        WINDOW,
        "            slot.begin(number)\n        return slot\n",
        "            slot.number = number\n        return slot\n",
    ),
    Mutant(
        "growth-survives-close",
        BREAKER,
        "        self._trips = 0\n        self._not_before_s",
        "        self._not_before_s",
    ),
    Mutant(
        "early-failure-extends-the-open-time",
        BREAKER,
        '        """Nothing: the open time stays as long as it was."""',
        "        self._breaker.open_until_s += 1.0",
    ),
    Mutant(
        "floor-not-heeded",
        BREAKER,
        "max(self.clock() + open_for_s, self._not_before_s)",
        "self.clock() + open_for_s",
    ),
    Mutant(
        "floor-without-bound",
        BREAKER,
        "min(failure.floor_s, FLOOR_MAX_S)",
        "failure.floor_s",
    ),
    Mutant(
        "late-failure-of-another-time",
        BREAKER,
        "        if breaker._state is self:\n            breaker.window.take_back(",
        "        if True:\n            breaker.window.take_back(",
    ),
    Mutant(
        "late-failure-keeps-its-success",
        BREAKER,
        "            breaker.window.take_back(counted_at_s, breaker.clock(), slow=slow)\n",
        "",
    ),
    Mutant(
        "late-failure-twice",
        PERMIT,
        "        judge, self.counted_by = self.counted_by, None\n",
        "        judge = self.counted_by\n",
    ),
    Mutant(
        "taken-from-a-dead-slot",
        WINDOW,
        "for slot in self.live(now_s) if slot.number == number)",
        "for slot in self._slots if slot.number % len(self._slots) == number % len(self._slots))",
    ),
    Mutant(
        "shadow-refuses",
        BREAKER,
        'if self.mode == "shadow" and not self.held:',
        'if self.mode == "shadow" and self.held:',
    ),
    Mutant(
        "shadow-judges-what-it-would-refuse",
        BREAKER,
        "                return permit  # in earnest",
        "                permit.judge = self._state\n                return permit  # in earnest",
    ),
    Mutant(
        "broken-listener-heard",
        BREAKER,
        "            with suppress(Exception):\n",
        "            with suppress():\n",
    ),
    Mutant(
        "slow-probes-close",
        BREAKER,
        "self._slow / PROBES >= breaker.rules.slow_rate",
        "False",
    ),
    Mutant(
        "early-permits-without-gap",
        BREAKER,
        "        self.next_early_s = now_s + EARLY_EVERY_S\n",
        "",
    ),
)
