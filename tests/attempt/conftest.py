"""Every asynchronous test here runs on asyncio's own event loop and on uvloop: their transports differ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop

from tests.attempt.sending import Here
from tests.scripted import turns


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops by name."""
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def here() -> AsyncIterator[Callable[..., Here]]:
    """Makes providers, and closes their pools behind the test."""
    made: list[Here] = []

    def make(port: int, **options: Any) -> Here:
        made.append(Here(port, **options))
        return made[-1]

    yield make
    for one in made:
        one.pool.close()
    await turns()
