"""The page in a browser: an outage as it happens, the filter, the keyboard, themes, a phone, hostile names, the token."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.admin.browsing import CHROMIUM, NO_CHROMIUM, Stage, Watched, chromium, opened, staged
from tests.admin.test_guard import Elsewhere, own_address
from tests.harness import Client, request

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
]


DEMO = "providers: {demo: {}}\nroutes: [{name: all, match: {}, to: [demo]}]\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all: it takes a second to start."""
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broken(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A stage in the middle of an outage: the breaker of the first provider is open, the second answers."""
    async with staged(tmp_path_factory.mktemp("broken"), open_for="600s") as stage:
        await stage.ask(3)
        stage.down = True
        await stage.ask(9)
        await stage.ask(4, "try-this")
        yield stage


async def test_an_outage_as_it_happens(browser: Browser, tmp_path: Path) -> None:
    """The page that is open shows it: all well, the breaker opens and why, where traffic goes instead, and that it closes.

    Nothing is asked of any other host, nothing stands on the console, no rule of the Content-Security-Policy is broken.
    """
    async with staged(tmp_path, open_for="4s") as stage, opened(browser, stage.url) as seen:
        await seen.shows("#link", "live")
        await seen.shows("#news", "All is quiet")
        await stage.ask(3)
        await seen.until("document.querySelectorAll('tr.request').length === 3")
        stage.down = True
        await stage.ask(8)
        await seen.shows("#news", "first: breaker", "failed")
        await seen.shows("#news", "Traffic goes to second/n.")
        await seen.shows(".provider", "breaker open")
        await seen.shows(".target.now", "second/n")
        await seen.until("document.title === '■ first: breaker open · Fusebox'")
        await seen.until("/^first: breaker open for \\d+ s more/.test(document.getElementById('said').textContent)")
        stage.down = False
        await seen.shows("#news", "half-open")
        await stage.ask(6)
        await seen.until(
            "[...document.querySelectorAll('.provider .pill')].every((one) => one.innerText.endsWith('closed'))"
        )
        await seen.until("document.querySelectorAll('tr.request').length === 17")
        seen.assert_quiet()
        assert {url.removeprefix(stage.url) for url in seen.asked} <= {
            "",
            "page.css",
            "page.js",
            "icon.svg",
            "api/events",
        }


async def those(seen: Watched, selector: str, condition: str) -> Any:
    """The beginnings of the elements that fit a selector and a condition on `one`."""
    found = f"[...document.querySelectorAll({selector!r})].filter((one) => {condition})"
    return await seen.page.evaluate(f"{found}.map((one) => one.outerHTML.slice(0, 90))")


async def rows(seen: Watched) -> list[str]:
    """The texts of the requests that are shown."""
    return await seen.get("tr.request").all_inner_texts()


async def test_the_filter_and_the_keyboard(browser: Browser, broken: Stage) -> None:
    """Everything without a mouse: / to the filter, words of it, Escape; Tab, Space and Enter on what can be pressed."""
    async with opened(browser, broken.url) as seen:
        keyboard = seen.page.keyboard
        await seen.until("document.querySelectorAll('tr.request').length === 16")
        await keyboard.press("/")
        await seen.until("document.activeElement.id === 'filter' && document.activeElement.value === ''")
        await keyboard.type("try-this SECOND")
        assert len(await rows(seen)) == 4 and "4 of the last 16" in await seen.get("#count").inner_text()
        await seen.shows("#said", "4 of the last 16")
        await keyboard.press("Escape")
        assert len(await rows(seen)) == 16 and await seen.get("#filter").input_value() == ""
        await keyboard.press("/")
        await keyboard.type("no such thing")
        await seen.shows("#none", "Nothing fits")
        await keyboard.press("Escape")
        await seen.get("#filter").focus()
        for name, count in (("errors", 0), ("fallbacks", 13), ("slow", 0)):
            await keyboard.press("Tab")
            await seen.until("(name) => document.activeElement.dataset.only === name", name)
            assert await seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            await keyboard.press("Space")
            assert await seen.page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
            assert len(await rows(seen)) == count
            await keyboard.press("Space")
        button = seen.get("tr.request button").nth(10)
        await button.focus()
        await keyboard.press("Enter")
        assert await button.get_attribute("aria-expanded") == "true"
        attempts = await seen.get("tr.detail .attempt").all_inner_texts()
        assert len(attempts) == 2 and "first/m" in attempts[0] and "(503)" in attempts[0] and "second/n" in attempts[1]
        detail = await seen.get("tr.detail").inner_text()
        assert all(word in detail for word in ("input 1,200", "output 300", "Fusebox's own part", "Id"))
        await keyboard.press("Enter")
        assert await seen.get("tr.detail").count() == 0
        seen.assert_quiet()


async def test_everything_has_a_name_and_a_place(browser: Browser, broken: Stage) -> None:
    """For those who hear the page: landmarks, one first heading, a table with headers, states in words, and names for all
    that can be pressed.
    """
    async with opened(browser, broken.url) as seen:
        await seen.until("document.querySelectorAll('tr.request').length === 16")
        page = seen.page
        for role in ("banner", "main", "contentinfo"):
            assert await page.get_by_role(role).count() == 1
        assert await page.get_by_role("heading", level=1).all_inner_texts() == ["Fusebox"]
        for name in ("Providers", "Routes", "Requests", "Policy"):
            assert await page.get_by_role("region", name=name).count() >= 1
        table = page.get_by_role("table", name="Requests")
        assert await table.get_by_role("columnheader").count() == 8
        assert await table.get_by_role("row").count() == 17
        named = "one.ariaLabel || one.innerText || one.labels?.length"
        assert await those(seen, "button, input, svg[role=img]", f"!({named})") == []
        first = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="first", exact=True))
        assert "breaker open" in await first.first.inner_text()
        ids = "[...document.querySelectorAll('[id]')].map((one) => one.id)"
        found = await page.evaluate(ids)
        assert len(found) == len(set(found))


CONTRAST = """() => {
  const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(node).backgroundColor);
      if (a > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest("script, .unseen")) continue;
    const [one, other] = [light(numbers(getComputedStyle(node).color)), light(ground(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) bad.push(`${walker.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
  }
  return bad;
}"""
"""Texts with less than the contrast of WCAG 2.2, success criterion 1.4.3."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_both_themes_can_be_read(browser: Browser, broken: Stage, scheme: Any) -> None:
    """As the system wants it, or as the switch says, which is remembered; each with contrast enough."""
    async with opened(browser, broken.url, color_scheme=scheme, reduced_motion="reduce") as seen:
        await seen.until("document.querySelectorAll('tr.request').length === 16")
        await seen.get("tr.request button").nth(10).click()
        scheme_of = "getComputedStyle(document.documentElement).colorScheme"
        assert await seen.page.evaluate(scheme_of) == scheme
        assert await seen.page.evaluate(CONTRAST) == []
        other = "light" if scheme == "dark" else "dark"
        assert await seen.get("#theme").get_attribute("aria-label") == f"{other.capitalize()} theme"
        await seen.get("#theme").click()
        assert await seen.page.evaluate(scheme_of) == other
        assert await seen.page.evaluate(CONTRAST) == []
        await seen.page.reload()
        await seen.until("document.querySelectorAll('tr.request').length === 16")
        assert await seen.page.evaluate(scheme_of) == other
        seen.assert_quiet()


async def test_on_a_phone(browser: Browser, broken: Stage) -> None:
    """360 pixels are enough: nothing of the page is wider, also with a request's details open and long names in it."""
    await broken.ask(1, "a-model-with-a-name-that-does-not-end-" * 8)
    phone = {"width": 360, "height": 740}
    async with opened(browser, broken.url, viewport=phone, has_touch=True, is_mobile=True) as seen:
        await seen.until("document.querySelectorAll('tr.request').length >= 17")
        await seen.get("tr.request button").nth(0).tap()
        await seen.get("tr.request button").nth(9).tap()
        assert await seen.get("tr.detail").count() == 2
        assert await seen.page.evaluate("document.documentElement.scrollWidth") == 360
        assert await those(seen, "main *", "!one.closest('.scroll') && one.getBoundingClientRect().right > 360.5") == []
        assert await those(seen, "button", "one.checkVisibility() && one.getBoundingClientRect().height < 24") == []
        seen.assert_quiet()


HOSTILE = (
    '<img src=x onerror="window.owned = 1">',
    '"><script>window.owned = 1</script>',
    "</td></tr></table><iframe src=javascript:window.owned=1>",
    "'-alert(1)-'",
    "event: state\ndata: {}\n\n",
    "‮drawkcab \u0000\u001b[31m",
)


async def test_hostile_names_are_text(browser: Browser, tmp_path: Path) -> None:
    """Models, paths, ids and retry counts are the client's to choose: they are shown as they are, and do nothing."""
    async with staged(tmp_path) as stage, opened(browser, stage.url) as seen:
        for text in HOSTILE:
            await stage.ask(1, text)
        async with Client(stage.fusebox.port) as client:
            headers = [("x-fusebox-request-id", HOSTILE[0]), ("x-stainless-retry-count", HOSTILE[1][:16])]
            await client.exchange(request("GET", f"/v1/{quote(HOSTILE[0])}?{quote(HOSTILE[1])}", None, headers))
        await seen.until("document.querySelectorAll('tr.request').length === 7")
        for number in range(7):
            await seen.get("tr.request button").nth(number).click()
        assert await seen.get("tr.detail").count() == 7
        texts = await seen.get("#lines").inner_text()
        assert HOSTILE[0] in texts and HOSTILE[1] in texts and HOSTILE[2] in texts
        await seen.get("#filter").fill("<img")
        assert len(await rows(seen)) >= 1
        assert await seen.page.evaluate("window.owned") is None
        assert await seen.get("#lines img, #lines script, #lines iframe, main img").count() == 0
        assert await seen.get(".provider").count() == 2 and seen.dialogs == []
        seen.assert_quiet()


async def test_it_comes_back_by_itself(browser: Browser, tmp_path: Path) -> None:
    """Fusebox ends: the page says that it hears nothing and since when. It is there again: so is the page."""
    async with staged(tmp_path) as stage, opened(browser, stage.url) as seen:
        await stage.ask(2)
        await seen.until("document.querySelectorAll('tr.request').length === 2")
        await stage.fusebox.stop()
        await seen.shows("#link", "offline")
        await seen.shows("#news", "No word from Fusebox since")
        assert await seen.get("tr.request").count() == 2  # what was known stays to be read
        await stage.fusebox.start()
        await seen.shows("#link", "live")
        await stage.ask(1)
        await seen.until("document.querySelectorAll('tr.request').length === 1")
        await seen.shows("#news", "All providers answer")


async def test_without_a_token_there_is_nothing_to_press(browser: Browser, broken: Stage) -> None:
    """Read-only."""
    async with opened(browser, broken.url) as seen:
        await seen.shows(".provider", "first")
        names = await seen.get("main button:not(.open):visible").all_inner_texts()
        assert names == ["Errors", "Fallbacks", "Slow", "Pause"]


async def test_from_another_host_without_a_token(browser: Browser, tmp_path: Path) -> None:
    """The page says why it is empty, and what to do."""
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    async with Elsewhere(DEMO, tmp_path) as fusebox:
        async with opened(browser, f"http://{address}:{fusebox.admin_port}/") as seen:
            await seen.shows("#link", "refused")
            await seen.shows("#news", "only callers on this machine may read this", "admin_token")
            assert not await seen.get("main").is_visible()


async def test_with_a_token(browser: Browser, tmp_path: Path) -> None:
    """It is asked for once, kept in the tab alone, and opens the buttons: force open, release, reload."""
    token = "the-token-of-this-test"
    async with staged(tmp_path, more="admin_token: {env: TOKEN}\n", TOKEN=token) as stage:
        async with opened(browser, stage.url) as seen:
            await seen.get("#token").fill("not this one")
            await seen.page.keyboard.press("Enter")
            await seen.shows("#refused", "That is not the token")
            assert not await seen.get("main").is_visible()
            await seen.get("#token").fill(token)
            await seen.page.keyboard.press("Enter")
            await seen.get("#force_open-first").click()
            await seen.shows(".provider", "breaker held open")
            await seen.shows("#news", "first: held open by hand")
            assert await seen.page.evaluate("document.activeElement.id") != "token"
            await seen.get("#release-first").click()
            await seen.get("#reset-first").click()
            await seen.until("document.querySelector('.provider .pill').innerText.endsWith('closed')")
            before = await seen.get("#policy").inner_text()
            await seen.page.get_by_role("button", name="Reload").click()
            await seen.until("(before) => document.getElementById('policy').innerText !== before", before)
            assert len(seen.dialogs) == 4 and "Send nothing more to first" in seen.dialogs[0]
            await seen.page.reload()
            await seen.shows(".provider", "first")  # not asked again
            stored = "JSON.stringify([{...localStorage}, document.cookie, location.href])"
            assert token not in await seen.page.evaluate(stored) and token not in str(seen.asked)
            # What the browser itself says of a 401 is all that stands on the console.
            assert [one for one in seen.troubles if "401" not in one] == []
        assert token.encode() not in stage.fusebox.raw_log
        logged = [line["action"] for line in stage.fusebox.lines if line["event"] == "breaker_order"]
        assert logged == ["force_open", "release", "reset"]


async def test_a_policy_that_was_not_taken(browser: Browser, tmp_path: Path) -> None:
    """The headline says so, and below stand the file's problems with their lines; then a good one is in force."""
    async with staged(tmp_path) as stage, opened(browser, stage.url) as seen:
        config = stage.fusebox.config
        good = config.read_text()
        config.write_text(good + "oops: 1\nalas: 2\n")
        stage.fusebox.signal(signal.SIGHUP)
        await seen.shows("#news", "A changed policy was not taken")
        line = good.count("\n") + 1
        await seen.shows("#policy .problems", f"{config}:{line}:1: oops: unknown key")
        await seen.shows("#news", "And 1 further problem, under Policy below.")
        config.write_text(good.replace("name: canary", "name: other"))
        stage.fusebox.signal(signal.SIGHUP)
        await seen.shows("#routes", "other")
        assert "null" not in await seen.get("#policy").inner_text()
        await seen.until("!document.getElementById('news').innerText.includes('not taken')")
        seen.assert_quiet()
