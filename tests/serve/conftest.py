"""One Fusebox and one provider for all tests of this directory; both live as long as the session's event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness import Client, Fusebox, Upstream
from tests.sdk.gateway import free_ports

OWN_KEY = "sk-own-key-of-the-provider"
CLIENT_KEY = "sk-key-of-the-client"

CONFIG = """
retry: {{attempts: 0}}
providers:
  main:
    base_url: http://127.0.0.1:{port}/base/v1
    anthropic_url: http://127.0.0.1:{port}/anthropic
    keys: [{{env: MAIN_KEY}}]
  open: {{base_url: "http://127.0.0.1:{port}/open/v1", keys: none}}
  theirs: {{base_url: "http://127.0.0.1:{port}/theirs/v1", keys: client}}
  keyless: {{base_url: "http://127.0.0.1:{port}/keyless/v1", keys: [{{env: NOT_SET_ANYWHERE}}]}}
  dead: {{base_url: "http://127.0.0.1:{dead}/v1", anthropic_url: "http://127.0.0.1:{dead}", keys: none}}
limits: {{body: 1MiB, headers: 16KiB}}
timeouts: {{connect: 2s, head: 30s}}
routes:
  - {{name: aliases, match: {{model: "alias*"}}, to: [main/vendor/real-model]}}
  - {{name: keyless, match: {{model: "keyless"}}, to: [keyless]}}
  - {{name: dead, match: {{model: "dead"}}, to: [dead]}}
  - {{name: slow, match: {{model: "slow"}}, to: [main], timeouts: {{head: 50ms, total: 80ms}}}}
  - {{name: open, match: {{model: "open"}}, to: [open]}}
  - {{name: theirs, match: {{model: "theirs"}}, to: [theirs]}}
  - {{name: named, match: {{model: "kept*"}}, to: [main]}}
  - {{name: paths, match: {{path: ["/v1/files*", "/v1/any*", "/v1/models*", "/v1/realtime", "/v1/audio/*"]}}, to: [main]}}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every asynchronous test here runs in the session's loop, where the fixtures live."""
    for item in items:
        if "tests/serve" in item.path.as_posix() and item.get_closest_marker("asyncio") is not None:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def provider() -> AsyncIterator[Upstream]:
    """The provider behind all names of the policy."""
    async with Upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def process(provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fusebox]:
    """Fusebox in front of it; at the end it must stop cleanly, without a fault of its own and without a key in its log."""
    config = CONFIG.format(port=provider.port, dead=free_ports(1)[0])
    fusebox = Fusebox(config, tmp_path_factory.mktemp("serve"), {"MAIN_KEY": OWN_KEY})
    await fusebox.start()
    yield fusebox
    assert await fusebox.stop() == 0
    assert fusebox.errors == b""
    assert [line for line in fusebox.lines if line["event"] == "internal_error"] == []
    assert OWN_KEY.encode() not in fusebox.raw_log and CLIENT_KEY.encode() not in fusebox.raw_log


@pytest_asyncio.fixture(loop_scope="session")
async def fusebox(process: Fusebox, provider: Upstream) -> AsyncIterator[Fusebox]:
    """The same, nothing left over from the test before; afterwards it must still be there."""
    provider.forget()
    await process.forget()
    yield process
    assert process.process.returncode is None, process.errors.decode()


@pytest.fixture
def upstream(fusebox: Fusebox, provider: Upstream) -> Upstream:
    """The provider, for a test that also wants Fusebox."""
    return provider


@pytest_asyncio.fixture(loop_scope="session")
async def client(fusebox: Fusebox) -> AsyncIterator[Client]:
    """A connection to Fusebox."""
    async with Client(fusebox.port) as connection:
        yield connection
