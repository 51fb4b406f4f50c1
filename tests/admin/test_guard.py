"""Who may read the admin port, and who may change anything: by address, Host, Origin, Fetch Metadata and token."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import pytest_asyncio

from tests.harness import Client, Fusebox, Head, Response, request

POLICY = """
admin_token: {{{source}}}
providers: {{main: {{base_url: "http://127.0.0.1:1/v1", keys: none}}}}
routes: [{{name: all, match: {{}}, to: [main]}}]
"""

OPEN_POLICY = POLICY.replace("admin_token: {{{source}}}", "")
TOKEN = "a-token-of-the-admin-port"
READ = "/api/requests"


class Port:
    """The admin port of a process."""

    def __init__(self, fusebox: Fusebox) -> None:
        self.fusebox = fusebox

    async def get(self, path: str = READ, host: str | None = None, **headers: str) -> Response:
        """An answer. `headers`: their names with underscores. `host` may be a name that is not the port's own."""
        lines = [(name.replace("_", "-"), value) for name, value in headers.items()]
        asked = request("GET", path, None, lines, host=host or f"127.0.0.1:{self.fusebox.admin_port}")
        return await self.ask(asked)

    async def order(self, *, host: str | None = None, **headers: str) -> Response:
        """Have the breaker reset."""
        lines = [(name.replace("_", "-"), value) for name, value in headers.items()]
        path, body = "/api/breakers/main", b'{"action": "reset"}'
        return await self.ask(request("POST", path, body, lines, host=host or f"127.0.0.1:{self.fusebox.admin_port}"))

    async def ask(self, asked: bytes) -> Response:
        """Of a fresh connection."""
        async with Client(self.fusebox.admin_port) as client:
            return await client.exchange(asked)

    async def status_of_stream(self, **headers: str) -> int:
        """How ``/api/events`` answers; what it then tells is not waited for."""
        async with Client(self.fusebox.admin_port) as client:
            lines = [(name.replace("_", "-"), value) for name, value in headers.items()]
            await client.send(request("GET", "/api/events", None, lines))
            head, _ = await client.begin()
            return head.status


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Port]:
    """On loopback, without a token."""
    async with Fusebox(OPEN_POLICY.format(), tmp_path_factory.mktemp("open")) as fusebox:
        yield Port(fusebox)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def locked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Port]:
    """On loopback, with a token."""
    policy = POLICY.format(source="env: ADMIN_TOKEN")
    async with Fusebox(policy, tmp_path_factory.mktemp("locked"), {"ADMIN_TOKEN": TOKEN}) as fusebox:
        yield Port(fusebox)


pytestmark = pytest.mark.asyncio(loop_scope="module")

REBINDING = ("page.example", "10.0.0.7:4011", "127.0.0.1.page.example", "localhost.page.example:4011", "")


@pytest.mark.parametrize("host", REBINDING)
@pytest.mark.parametrize("path", ["/", "/page.js", READ, "/api/overview", "/api/status", "/api/breakers", "/metrics"])
async def test_a_foreign_name_that_leads_here_is_refused(port: Port, host: str, path: str) -> None:
    """DNS rebinding: the page of such a name would be of the same origin as what it asks for."""
    answer = await port.ask(request("GET", path, None, host=host))
    assert answer.status == 403
    assert "localhost" in answer.json["error"]


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1", "127.0.0.2:80", "[::1]", "[::1]:4011"])
async def test_this_machine_by_any_of_its_names(port: Port, host: str) -> None:
    """Whatever port the Host names: kubectl port-forward has another one."""
    assert (await port.get(host=host)).status == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_is_for_everybody(port: Port, path: str) -> None:
    """kubelet asks by the pod's address."""
    assert (await port.get(path, host="10.0.0.7:4011", Sec_Fetch_Site="cross-site")).status == 200


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (READ, {"Sec_Fetch_Site": "cross-site"}, 403),
        (READ, {"Sec_Fetch_Site": "same-site"}, 403),  # a page of another port
        (READ, {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 403),
        (READ, {"Sec_Fetch_Site": "same-origin"}, 200),
        (READ, {"Sec_Fetch_Site": "none", "Sec_Fetch_Mode": "navigate"}, 200),  # typed into the address bar
        (READ, {"Origin": "https://page.example"}, 403),
        (READ, {"Origin": "http://127.0.0.1"}, 403),  # another port
        (READ, {"Origin": "null"}, 403),
        ("/metrics", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("/metrics", {}, 200),
        ("/page.js", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, 403),
        ("/", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 200),  # a link leads here
        ("/", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, 403),
    ],
)
async def test_pages_of_other_sites_read_nothing(port: Port, path: str, headers: dict[str, str], status: int) -> None:
    """By what browsers say of themselves; curl and scrapers say nothing of the kind."""
    assert (await port.get(path, **headers)).status == status


async def test_the_page_s_own_origin(port: Port) -> None:
    """As a browser sends it with an order."""
    own = f"127.0.0.1:{port.fusebox.admin_port}"
    assert (await port.get(Origin=f"http://{own}", Sec_Fetch_Site="same-origin")).status == 200
    assert (await port.order(Origin=f"http://{own}", Sec_Fetch_Site="same-origin")).status == 200
    assert (await port.order(Origin="http://page.example", Sec_Fetch_Site="cross-site")).status == 403


async def test_what_every_answer_says_of_itself(port: Port) -> None:
    """Nobody keeps it and nobody guesses its kind; refusals and what is not there too."""
    for path, headers in ((READ, {}), (READ, {"Origin": "null"}), ("/api/nothing", {}), ("/livez", {})):
        head = (await port.get(path, **headers)).head
        assert (head.one("x-content-type-options"), head.one("cache-control")) == (b"nosniff", b"no-store")
        assert head.one("access-control-allow-origin") is None


# With a token

BAD_TOKENS = ("", "Bearer", "Bearer ", "Bearer x", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN)


@pytest.mark.parametrize("given", [*BAD_TOKENS, "Bearer \xff\xfe"])
async def test_without_the_token_nothing_is_told(locked: Port, given: str) -> None:
    """Not on this machine either: 401, which says what is needed and gives nothing away."""
    for path in (READ, "/api/overview", "/api/events", "/api/status", "/api/breakers", "/api/reload"):
        answer = await locked.get(path, Authorization=given)
        assert answer.status == 401 and answer.head.one("www-authenticate") == b'Bearer realm="fusebox"'
        assert "admin_token" in answer.json["error"] and TOKEN not in str(answer)
    assert (await locked.order(Authorization=given)).status == 401


async def test_with_the_token(locked: Port) -> None:
    """By the header; the scheme's case does not matter (RFC 9110 section 11.1)."""
    for scheme in ("Bearer", "bearer"):
        assert (await locked.get(Authorization=f"{scheme} {TOKEN}")).status == 200
    assert (await locked.order(Authorization=f"Bearer {TOKEN}")).status == 200
    assert await locked.status_of_stream(Authorization=f"Bearer {TOKEN}") == 200


async def test_the_page_itself_needs_none(locked: Port) -> None:
    """It holds nothing, and it is where a token is typed; nor do health and metrics."""
    for path in ("/", "/page.css", "/page.js", "/icon.svg", "/livez", "/readyz", "/metrics"):
        assert (await locked.get(path)).status == 200


async def test_the_token_does_not_open_the_port_to_other_sites(locked: Port) -> None:
    """Rebinding and cross-site requests stay refused."""
    bearer = f"Bearer {TOKEN}"
    assert (await locked.get(host="page.example", Authorization=bearer)).status == 403
    assert (await locked.order(Authorization=bearer, Origin="http://page.example")).status == 403
    assert (await locked.order(Authorization=bearer, Content_Type="text/plain")).status == 415


# Bound elsewhere


def own_address() -> str | None:
    """An address of this machine that is not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1, RFC 5737
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if ip_address(address).is_loopback else address


async def ask(address: str, port: int, asked: bytes) -> tuple[int, bytes]:
    """Status and body of an answer of `address`."""
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    raw = await reader.read(-1)
    writer.close()
    await writer.wait_closed()
    head, _, body = raw.partition(b"\r\n\r\n")
    return Head.parse(head + b"\r\n\r\n").status, body


class Elsewhere(Fusebox):
    """With the admin port on every address."""

    def __init__(self, policy: str, directory: Path, environment: dict[str, str] | None = None) -> None:
        super().__init__(policy, directory, environment)
        written = self.config.read_text()
        self.config.write_text(written.replace("admin: 127.0.0.1:", "admin: 0.0.0.0:"))


@pytest.mark.parametrize("token", [False, True])
async def test_bound_to_all_addresses(tmp_path: Path, token: bool) -> None:
    """From elsewhere only the token opens it, for reading and for orders; from here, as if it were bound to loopback."""
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    policy = POLICY.format(source="env: ADMIN_TOKEN") if token else OPEN_POLICY.format()
    async with Elsewhere(policy, tmp_path, {"ADMIN_TOKEN": TOKEN}) as fusebox:
        here, there = "127.0.0.1", f"{address}:{fusebox.admin_port}"
        bearer = [("Authorization", f"Bearer {TOKEN}")]
        read = request("GET", READ, None, host=there)
        status, body = await ask(address, fusebox.admin_port, read)
        assert (status, "admin_token" in json.loads(body)["error"]) == (401 if token else 403, True)
        order = request("POST", "/api/breakers/main", b'{"action": "reset"}', bearer, host=there)
        wanted = 200 if token else 403
        assert (await ask(address, fusebox.admin_port, request("GET", READ, None, bearer, host=there)))[0] == wanted
        assert (await ask(address, fusebox.admin_port, order))[0] == wanted
        for path in ("/", "/livez", "/readyz", "/metrics"):
            assert (await ask(address, fusebox.admin_port, request("GET", path, None, host=there)))[0] == 200
        wanted = 401 if token else 200
        assert (await ask(here, fusebox.admin_port, request("GET", READ, None, host="localhost:1")))[0] == wanted


async def test_a_token_that_cannot_be_read_lets_nobody_in(tmp_path: Path) -> None:
    """It starts all the same, and says so; once the file is there, its token is taken."""
    file = tmp_path / "token"
    async with Fusebox(POLICY.format(source=f"file: {file}"), tmp_path) as fusebox:
        port = Port(fusebox)
        line = await fusebox.line(event="admin_token_missing")
        assert str(file) in str(line["missing"])
        assert (await port.get(Authorization="Bearer ")).status == 401
        file.write_text(f"{TOKEN}\n")
        await fusebox.line(event="keys_changed")
        assert (await port.get(Authorization=f"Bearer {TOKEN}")).status == 200
        assert TOKEN.encode() not in fusebox.raw_log
