"""The clients: one that streams like an SDK for volume, and the real OpenAI SDK for a sample of the requests.

Both note the same of each request, as their user would see it. The SDK keeps its own retries, the other has none.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import openai

from drill.traffic import Arrival

Result = Literal["ok", "cut", "error"]
"""Whole; broken after its first event; or nothing at all of an answer."""

CHARS_PER_TOKEN = 4
MODEL = "chat"
PATIENCE_S = 90.0
"""A request that takes longer than this has hung: far above the policy's own total."""

_DATA = b"data: "
_FINISHED = b'"finish_reason": "stop"'


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as its client saw it. Times in seconds of the drill; `provider`: who answered, if anybody did.

    `why`: of an error or a cut; `own`: the error was Fusebox's own, by its code; `retry_after`: what the error said.
    """

    at_s: float
    end_s: float
    result: Result
    first_s: float | None = None
    provider: str | None = None
    status: int = 0
    why: str = ""
    own: str = ""
    retry_after: str = ""
    sdk: bool = False


def body_of(arrival: Arrival) -> dict[str, Any]:
    """A request as large as the trace's, for as many tokens."""
    content = "word " * max(1, arrival.context * CHARS_PER_TOKEN // 5)
    return {
        "model": MODEL,
        "stream": True,
        "max_completion_tokens": max(1, arrival.generated),
        "messages": [{"role": "user", "content": content}],
    }


class Clients:
    """Sends requests and keeps what was seen of them. Use as an async context manager."""

    def __init__(self, port: int, clock: Callable[[], float], sdk_every: int) -> None:
        self.seen: list[Seen] = []
        self._base = f"http://127.0.0.1:{port}/v1"
        self._clock = clock
        self._sdk_every = sdk_every

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout, trust_env=False)
        self._sdk = openai.AsyncOpenAI(base_url=self._base, api_key="of-the-client", timeout=PATIENCE_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._sdk.close()

    async def send_all(self, arrivals: Sequence[Arrival]) -> None:
        """Send each request at its time, and wait for all of their ends."""
        async with asyncio.TaskGroup() as group:
            for number, arrival in enumerate(arrivals):
                wait_s = arrival.at_s - self._clock()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                by_sdk = self._sdk_every > 0 and number % self._sdk_every == 0
                group.create_task(self._send(arrival, self._with_sdk if by_sdk else self._plainly, by_sdk))

    async def _send(self, arrival: Arrival, way: Callable[[Arrival, _Notes], Awaitable[None]], by_sdk: bool) -> None:
        notes = _Notes(self._clock)
        try:
            await way(arrival, notes)
        except Exception as error:  # whatever it is, it is what the user of this client would get
            notes.why = type(error).__name__
        self.seen.append(notes.seen(by_sdk))

    async def _plainly(self, arrival: Arrival, notes: _Notes) -> None:
        body = json.dumps(body_of(arrival)).encode()
        headers = {"Content-Type": "application/json", "Authorization": "Bearer of-the-client"}
        async with self._session.post(f"{self._base}/chat/completions", data=body, headers=headers) as answer:
            notes.head(answer.status, answer.headers)
            if answer.status != 200:
                await answer.read()
                return
            async for line in answer.content:
                if line.startswith(_DATA):
                    notes.event()
                    notes.finished = notes.finished or _FINISHED in line

    async def _with_sdk(self, arrival: Arrival, notes: _Notes) -> None:
        try:
            raw = await self._sdk.chat.completions.with_raw_response.create(**body_of(arrival))
        except openai.APIStatusError as error:
            notes.head(error.status_code, error.response.headers)
            raise
        notes.head(raw.status_code, raw.headers)
        stream: Any = raw.parse()
        async for chunk in stream:
            notes.event()
            notes.finished = notes.finished or any(choice.finish_reason for choice in chunk.choices)


class _Notes:
    """What is noted of a request while it runs."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at_s = clock()
        self._first_s: float | None = None
        self._status = 0
        self._provider: str | None = None
        self._own = self._retry_after = ""
        self.finished = False
        self.why = ""

    def head(self, status: int, headers: Any) -> None:
        """The answer's head has come; of several (the SDK's retries) the last one counts."""
        self._status = status
        target = headers.get("x-fusebox-target")
        self._provider = target.partition("/")[0] if target else None
        self._own = headers.get("x-fusebox-error", "")
        self._retry_after = headers.get("retry-after", "")

    def event(self) -> None:
        """An event has come."""
        if self._first_s is None:
            self._first_s = self._clock()

    def seen(self, sdk: bool) -> Seen:
        """All of it, at the end."""
        whole = self.finished and not self.why
        result: Result = "ok" if whole else "cut" if self._first_s is not None else "error"
        why = self.why or ("" if whole else f"status {self._status}" if self._status != 200 else "ended too early")
        return Seen(
            at_s=self._at_s,
            end_s=self._clock(),
            result=result,
            first_s=self._first_s,
            provider=self._provider,
            status=self._status,
            why=why,
            own=self._own,
            retry_after=self._retry_after,
            sdk=sdk,
        )


def drill_clock(began_s: float) -> Callable[[], float]:
    """Seconds of the drill, given when it began on the monotonic clock."""
    return lambda: time.monotonic() - began_s
