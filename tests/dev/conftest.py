"""A demo provider without a pace, and clients for it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import aiohttp
import anthropic
import openai
import pytest
import pytest_asyncio
from anthropic.types import MessageParam
from openai.types.chat import ChatCompletionMessageParam

from proxy.dev import demo

NOW = 1_700_000_000.5
QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "What  is\na sidecar?"}]},
]
SAID: list[MessageParam] = [{"role": "user", "content": "What is a sidecar?"}]


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an egress proxy nor the SDKs' own variables may change where a test's request goes, or its headers."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "ANTHROPIC_"))]:
        monkeypatch.delenv(name)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[demo.DemoServer]:
    """A demo provider without a pace."""
    started = await demo.start(clock=lambda: NOW, pace_s=0)
    yield started
    await started.stop()


@pytest_asyncio.fixture
async def gpt(server: demo.DemoServer) -> AsyncIterator[openai.AsyncOpenAI]:
    """The OpenAI SDK, pointed at the demo provider."""
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


@pytest_asyncio.fixture
async def claude(server: demo.DemoServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The Anthropic SDK, pointed at the demo provider."""
    url = server.anthropic_url
    async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@pytest_asyncio.fixture
async def http(server: demo.DemoServer) -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client with the provider's root as its base."""
    async with aiohttp.ClientSession(server.anthropic_url) as session:
        yield session
