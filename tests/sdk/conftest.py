"""Fixtures: Fusebox once per session, the SDKs' clients once per test, each synchronous and asynchronous."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Generic, TypeVar

import anthropic
import httpx2
import openai
import pytest
import pytest_asyncio

from tests.sdk.gateway import ALIAS, CLIENT_KEY, KEPT, Gateway, Sent, running

T = TypeVar("T")
U = TypeVar("U")
Client = TypeVar("Client")


@dataclass(frozen=True, slots=True)
class Side(Generic[Client]):
    """An SDK's client, and the requests it has sent."""

    client: Client
    sent: list[Sent]


Gpt = Side[openai.OpenAI | openai.AsyncOpenAI]
Claude = Side[anthropic.Anthropic | anthropic.AsyncAnthropic]


async def settled(value: Awaitable[T] | T) -> T:
    """What a call of either kind of client gives, awaited where it has to be.

    A synchronous call blocks the test's own loop, which does no harm: the other two parties run elsewhere.
    """
    return await value if inspect.isawaitable(value) else value


async def items(stream: AsyncIterable[T] | Iterable[T]) -> list[T]:
    """All that a stream or a page of either kind of client holds."""
    if isinstance(stream, AsyncIterable):
        return [item async for item in stream]
    return list(stream)


async def streamed(call: Awaitable[AsyncIterable[T]] | Iterable[T]) -> list[T]:
    """All events of a streamed call of either kind of client."""
    return list(call) if isinstance(call, Iterable) else await items(await call)


async def entered(stack: AsyncExitStack, context: AbstractAsyncContextManager[T] | AbstractContextManager[U]) -> T | U:
    """What a context manager of either kind gives; `stack` leaves it."""
    if isinstance(context, AbstractAsyncContextManager):
        return await stack.enter_async_context(context)
    return stack.enter_context(context)


@pytest.fixture(scope="session")
def fusebox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Fusebox between the SDKs and the emulator, one process for the whole session."""
    with pytest.MonkeyPatch.context() as patch, running(tmp_path_factory.mktemp("fusebox")) as gateway:
        # Neither an egress proxy of the machine nor the SDKs' own variables may change what is sent, or where to.
        patch.setenv("NO_PROXY", "127.0.0.1")
        for name in [name for name in os.environ if name.startswith(("OPENAI_", "ANTHROPIC_"))]:
            patch.delenv(name)
        yield gateway


@pytest.fixture
def gateway(fusebox: Gateway) -> Gateway:
    """The same, with no request remembered from an earlier test."""
    fusebox.emulator.take()
    return fusebox


@pytest.fixture(params=[ALIAS, KEPT])
def model(request: pytest.FixtureRequest) -> str:
    """A model that the policy replaces, and one that it keeps."""
    return str(request.param)


def recorded(request: httpx2.Request, body: bytes) -> Sent:
    """A request of the SDK's HTTP client as a value."""
    return Sent(request.method, request.url.raw_path.decode(), list(request.headers.raw), body)


def sync_http(sent: list[Sent]) -> httpx2.Client:
    """The SDK's HTTP client, with a hook that keeps what goes out."""

    def keep(request: httpx2.Request) -> None:
        sent.append(recorded(request, request.read()))

    return openai.DefaultHttpxClient(event_hooks={"request": [keep]})


def async_http(sent: list[Sent]) -> httpx2.AsyncClient:
    """The same for the asynchronous client."""

    async def keep(request: httpx2.Request) -> None:
        sent.append(recorded(request, await request.aread()))

    return openai.DefaultAsyncHttpxClient(event_hooks={"request": [keep]})


@pytest_asyncio.fixture(params=["sync", "async"])
async def gpt(request: pytest.FixtureRequest, gateway: Gateway) -> AsyncIterator[Gpt]:
    """The OpenAI SDK, pointed at Fusebox."""
    sent: list[Sent] = []
    url = gateway.base_url
    if request.param == "sync":
        with openai.OpenAI(base_url=url, api_key=CLIENT_KEY, max_retries=0, http_client=sync_http(sent)) as client:
            yield Side(client, sent)
    else:
        http = async_http(sent)
        async with openai.AsyncOpenAI(
            base_url=url, api_key=CLIENT_KEY, max_retries=0, http_client=http
        ) as asynchronous:
            yield Side(asynchronous, sent)


@pytest_asyncio.fixture(params=["sync", "async"])
async def claude(request: pytest.FixtureRequest, gateway: Gateway) -> AsyncIterator[Claude]:
    """The Anthropic SDK, pointed at Fusebox."""
    sent: list[Sent] = []
    url = gateway.root
    if request.param == "sync":
        http = sync_http(sent)
        with anthropic.Anthropic(base_url=url, api_key=CLIENT_KEY, max_retries=0, http_client=http) as client:
            yield Side(client, sent)
    else:
        other = async_http(sent)
        async with anthropic.AsyncAnthropic(
            base_url=url, api_key=CLIENT_KEY, max_retries=0, http_client=other
        ) as claude:
            yield Side(claude, sent)
