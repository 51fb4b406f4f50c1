"""What the page says when it is looked at for ten seconds: figures that agree, panic, long lists, narrow windows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route

from tests.admin.browsing import CHROMIUM, NO_CHROMIUM, Watched, chromium, opened, staged
from tests.harness import Client, Exchange, Fusebox, Upstream, chat, ok, request

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
]

DESK = {"width": 1360, "height": 900}
LONG = "Llama-4-Maverick-17B-128E-Instruct-FP8-with-a-tail-of-words-that-nobody-needs"
COUNT = 15

MANY = (
    "breaker: {{open_for: 60s}}\nproviders:\n"
    '  only: {{base_url: "http://127.0.0.1:{port}/v1", keys: none}}\n'
    '  keyless: {{base_url: "http://127.0.0.1:{port}/v1", keys: [{{env: NO_SUCH_KEY}}]}}\n'
    "routes:\n"
    + "".join(
        f"  - {{{{name: r{number}, match: {{{{model: m{number}}}}}, to: [only/{LONG}-{number}]}}}}\n"
        for number in range(COUNT)
    )
    + "  - {{name: sick, match: {{model: sick}}, to: [keyless, only]}}\n"
    + "  - {{name: rest, match: {{}}, to: [only]}}\n"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all: it takes a second to start."""
    async with chromium() as started:
        yield started


@asynccontextmanager
async def one_provider(directory: Path, policy: str, answer: bytes) -> AsyncIterator[Fusebox]:
    """Fusebox in front of a provider that always answers the same."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(answer)

    async with Upstream() as upstream:
        upstream.script = script
        async with Fusebox(policy.format(port=upstream.port), directory) as fusebox:
            yield fusebox


def page_of(fusebox: Fusebox) -> str:
    """Its address."""
    return f"http://127.0.0.1:{fusebox.admin_port}/"


FIGURES = """() => {
  const number = (node, label) =>
    [...node.querySelectorAll("span")].find((one) => one.innerText.endsWith(label)).firstChild.innerText;
  const both = (node) => [number(node, "attempts/min"), number(node, "failed")];
  return {all: both(document.getElementById("figures")), each: [...document.querySelectorAll(".provider .facts")].map(both)};
}"""


async def test_figures_agree_with_the_headline(browser: Browser, tmp_path: Path) -> None:
    """At the moment at which the headline tells of an open breaker, the header and the cards tell of the attempts that failed,
    in the same unit; nothing of it is some seconds old.
    """
    async with staged(tmp_path) as stage:
        await stage.ask(3)
        stage.down = True
        await stage.ask(9)
        async with opened(browser, stage.url) as seen:
            await seen.shows("#news", "first: breaker open")
            figures = await seen.page.evaluate(FIGURES)
            failed = sum(
                one["verdict"] == "failure" for line in await requests_of(stage.fusebox) for one in line["tried"]
            )
            assert failed >= 5 and figures == {
                "all": [str(12 + failed), f"{int(failed / (12 + failed) * 100 + 0.5)} %"],
                "each": [[str(3 + failed), f"{int(failed / (3 + failed) * 100 + 0.5)} %"], ["9", "0 %"]],
            }
            seen.assert_quiet()


async def requests_of(fusebox: Fusebox) -> list[dict[str, Any]]:
    """Those that have ended, as the admin port tells them."""
    async with Client(fusebox.admin_port) as admin:
        told: list[dict[str, Any]] = (await admin.exchange(request("GET", "/api/requests"))).json["requests"]
    return told


ONE = """
retry: {{attempts: 0}}
breaker: {{open_for: 60s}}
providers: {{only: {{base_url: "http://127.0.0.1:{port}/v1", keys: none}}}}
routes: [{{name: all, match: {{}}, to: [only/m]}}]
"""


async def test_a_panic_probe_is_told_as_one(browser: Browser, tmp_path: Path) -> None:
    """The only target is out, and is asked all the same: the timeline says so once, and not that it was left out as well.
    Who was refused meanwhile went to nobody; the headline says what becomes of the requests.
    """
    down = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"
    async with one_provider(tmp_path, ONE, down) as fusebox:
        async with Client(fusebox.port) as client:
            while not (last := await client.exchange(chat("m"))).error_code:
                assert last.status == 503
        async with opened(browser, page_of(fusebox)) as seen:
            await seen.shows("#news", "Route all: every target is out.", "as a probe of an open breaker (panic)")
            [refused] = await seen.get("tr.request:has-text('nobody')").all_inner_texts()
            assert "all_targets_out" in refused and "fallback" not in refused
            await seen.get("#filter").fill("panic")
            probes = seen.get("tr.request")
            assert await probes.count() >= 1
            assert "fallback" not in await probes.nth(0).inner_text()
            await probes.nth(0).locator("button").click()
            [attempt] = await seen.get("tr.detail .attempt").all_inner_texts()
            assert "overloaded (503)" in attempt and "left out" not in attempt
            assert "Panic: every target was out; asked although its breaker was open, " in attempt
            await seen.shows("#routes", "1 refused")
            seen.assert_quiet()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def many(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fusebox]:
    """A policy with more routes and targets than a screen has room for; each has been asked."""
    usage = {"prompt_tokens": 123456, "completion_tokens": 54321, "total_tokens": 177777}
    answer = ok(json.dumps({"choices": [], "usage": usage}).encode())
    async with one_provider(tmp_path_factory.mktemp("many"), MANY, answer) as fusebox, Client(fusebox.port) as client:
        for number in range(COUNT):
            await client.exchange(chat(f"m{number}"))
        for _ in range(2):
            await client.exchange(chat("some-other"))
        yield fusebox


BEYOND = """(selector) => [...document.querySelectorAll(selector)].flatMap((table) => {
  const right = table.closest(".card").getBoundingClientRect().right;
  return [table, ...table.querySelectorAll("*")].filter((one) => one.checkVisibility() && one.getBoundingClientRect().right > right)
    .map((one) => one.outerHTML.slice(0, 90));
})"""


@pytest.mark.parametrize("width", [360, 390, 800, 1110, 1360])
async def test_the_targets_fit_at_any_width(browser: Browser, many: Fusebox, width: int) -> None:
    """Nothing of the table is cut off; for those who hear the page it is a table, with its headers, also where it is stacked."""
    phone = width < 700
    view = {"width": width, "height": 844}
    async with opened(browser, page_of(many), viewport=view, is_mobile=phone, has_touch=phone) as seen:
        await seen.shows("#targets", "only any model")
        assert await seen.page.evaluate(BEYOND, ".targets") == []
        assert await seen.page.evaluate("document.documentElement.scrollWidth") == width
        label = "getComputedStyle(document.querySelector('.targets td'), '::before').content"
        assert ("Requests" in await seen.page.evaluate(label)) == (width < 1200 and width != 800)
        table = seen.page.get_by_role("table", name="Targets since the start")
        assert await table.get_by_role("columnheader").count() == 5
        assert await table.get_by_role("rowheader").count() == await seen.get("#targets tr").count()
        assert await table.get_by_role("cell").count() == 4 * await seen.get("#targets tr").count()
        assert "client's model" not in await seen.get("main").inner_text()


async def test_what_is_wider_than_its_place_is_seen_to_be(browser: Browser, many: Fusebox) -> None:
    """A table that scrolls sideways has a shadow where it goes on, and the keyboard reaches it."""
    async with opened(browser, page_of(many), viewport={"width": 720, "height": 800}) as seen:
        await seen.until("document.querySelectorAll('tr.request').length > 15")
        for table in await seen.get(".scroll").all():
            assert (await table.evaluate("one => getComputedStyle(one).backgroundImage")).count("linear-gradient") == 4
            assert (
                await table.evaluate("one => getComputedStyle(one).backgroundAttachment")
                == "local, local, scroll, scroll"
            )
            await table.focus()
            assert await table.evaluate("one => document.activeElement === one")


async def test_long_lists_are_folded(browser: Browser, many: Fusebox) -> None:
    """The requests below stay within reach. A route with a target that is out is never hidden; the keyboard unfolds the rest."""
    async with opened(browser, page_of(many), viewport=DESK) as seen:
        await seen.shows("#all-targets", f"Show all {COUNT + 1} targets")
        assert await seen.get("#targets tr").count() == 12
        names = await seen.get("#routes h3").all_inner_texts()
        assert len(names) == 13 and names[-1] == "sick"
        for name, rows, count in (("targets", "#targets tr", COUNT + 1), ("routes", "#routes > li", COUNT + 2)):
            button = seen.get(f"#all-{name}")
            await button.focus()
            await seen.page.keyboard.press("Enter")
            assert await seen.get(rows).count() == count
            assert await button.get_attribute("aria-expanded") == "true" and await button.inner_text() == "Show fewer"
            await seen.page.keyboard.press("Enter")
            assert await seen.get(rows).count() < count
        seen.assert_quiet()


async def test_a_provider_that_is_sick_stands_first(browser: Browser, many: Fusebox) -> None:
    """However many there are, and whatever the policy's order."""
    async with opened(browser, page_of(many), viewport=DESK) as seen:
        await seen.shows(".provider", "breaker closed, no key")
        left = "[one.getBoundingClientRect().left, one.querySelector('h3').innerText]"
        tops = f"[...document.querySelectorAll('.provider')].map((one) => {left})"
        assert [name for _, name in sorted(await seen.page.evaluate(tops))] == ["keyless", "only"]


async def told_by(seen: Watched, state: dict[str, Any]) -> None:
    """Have the page hear `state`, and nothing else, when it asks again."""

    async def answer(route: Route) -> None:
        body = f"event: state\ndata: {json.dumps(state)}\n\n"
        await route.fulfill(status=200, content_type="text/event-stream", body=body)

    await seen.page.route("**/api/events", answer)
    await seen.page.reload()


async def test_an_empty_start(browser: Browser, tmp_path: Path) -> None:
    """Where to send the first request; and of a policy without a file, which has no digest, no empty place for one."""
    async with one_provider(tmp_path, ONE, ok(b"{}")) as fusebox, opened(browser, page_of(fusebox)) as seen:
        await seen.shows("#none", f"Point an SDK's base URL at the data port: http://127.0.0.1:{fusebox.port}/v1")
        await seen.shows("#policy", ", since ")
        assert await seen.get("#count").inner_text() == ""
        async with Client(fusebox.admin_port) as admin:
            state = (await admin.exchange(request("GET", "/api/overview"))).json
        state["policy"]["hash"] = ""
        await told_by(seen, state)
        await seen.shows("#policy", "since ")
        assert ", since" not in await seen.get("#policy").inner_text()
