"""The page in Debian's Chromium, over a real Fusebox between two providers of which the first can be taken down."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Locator, Page, async_playwright

from tests.harness import Client, Exchange, Fusebox, Upstream, chat, ok

CHROMIUM = shutil.which("chromium")

NO_CHROMIUM = "needs Chromium: apt-get install chromium"

WAIT_MS = 20_000
"""After so long what a page was to show counts as missing; far above what a busy machine needs."""

POLICY = """
retry: {{attempts: 0}}
breaker: {{open_for: {open_for}}}
providers:
  first: {{base_url: "http://127.0.0.1:{first}/v1", keys: none}}
  second: {{base_url: "http://127.0.0.1:{second}/v1", keys: none}}
models:
  first/m: {{price: {{input: 2.5, output: 15}}}}
  second/n: {{price: {{input: 3, output: 15}}}}
routes:
  - {{name: canary, match: {{model: "try-*"}}, to: [{{first/m: 90, first/m-next: 10}}, second/n]}}
  - {{name: main, match: {{}}, to: [first/m, second/n]}}
"""

USAGE = {"prompt_tokens": 1200, "completion_tokens": 300, "total_tokens": 1500}


class Stage:
    """`down`: the first provider answers 503."""

    def __init__(self, fusebox: Fusebox) -> None:
        self.fusebox = fusebox
        self.down = False
        self.url = f"http://127.0.0.1:{fusebox.admin_port}/"

    async def first(self, exchange: Exchange) -> None:
        """The provider that can be taken down."""
        if self.down:
            await exchange.answer(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}")
        else:
            await self.second(exchange)

    async def second(self, exchange: Exchange) -> None:
        """The other one."""
        await exchange.answer(ok(json.dumps({"choices": [], "usage": USAGE}).encode()))

    async def ask(self, count: int = 1, model: str = "m", headers: Sequence[tuple[str, str]] = ()) -> None:
        """Requests, one after the other."""
        async with Client(self.fusebox.port) as client:
            for _ in range(count):
                await client.exchange(chat(model, headers))


@asynccontextmanager
async def staged(directory: Path, open_for: str = "60s", more: str = "", **environment: str) -> AsyncIterator[Stage]:
    """A stage. `open_for`: of the breakers; `more`: lines of the policy."""
    async with Upstream() as first, Upstream() as second:
        policy = more + POLICY.format(first=first.port, second=second.port, open_for=open_for)
        async with Fusebox(policy, directory, environment) as fusebox:
            stage = Stage(fusebox)
            first.script, second.script = stage.first, stage.second
            yield stage


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser. Debian's, not one of Playwright's own."""
    assert CHROMIUM is not None, NO_CHROMIUM
    root = os.geteuid() == 0
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if root else [], timeout=WAIT_MS * 3
        )
        try:
            yield browser
        finally:
            await browser.close()


class Watched:
    """A page of a browser that keeps what must not happen. `asked`: the URLs of everything that it has requested."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.troubles: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        page.on("dialog", self._dialog)
        self.dialogs: list[str] = []

    async def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        await dialog.accept()

    def get(self, selector: str) -> Locator:
        """What fits a selector."""
        return self.page.locator(selector)

    async def shows(self, selector: str, *texts: str) -> None:
        """Waits until the text of something that fits `selector` holds each of `texts`."""
        within = (
            "([selector, text]) => [...document.querySelectorAll(selector)].some((one) => one.innerText.includes(text))"
        )
        for text in texts:
            await self.until(within, [selector, text])

    async def until(self, expression: str, arg: Any = None) -> None:
        """Waits until an expression of the page is true.

        Playwright's own way of waiting makes a function of a string in the page, which the page's policy rightly refuses.
        """
        try:
            async with asyncio.timeout(WAIT_MS / 1000):
                while not await self.page.evaluate(expression, arg):  # noqa: ASYNC110 - the event is the browser's
                    await asyncio.sleep(0.03)
        except TimeoutError:
            news = await self.page.evaluate("document.body.innerText")
            raise AssertionError(f"never: {expression} {arg or ''}\non the page: {news}\n{self.troubles}") from None

    def assert_quiet(self) -> None:
        """Nothing on the console, which is where a broken Content-Security-Policy shows; nothing asked elsewhere."""
        assert self.troubles == []
        assert self.asked and all(url.startswith(self.asked[0]) for url in self.asked), self.asked


@asynccontextmanager
async def opened(browser: Browser, url: str, **context: Any) -> AsyncIterator[Watched]:
    """The page at `url`, in a context of its own. `context`: as for Playwright's `new_context`."""
    made = await browser.new_context(**context)
    await made.add_init_script(
        "addEventListener('securitypolicyviolation', (event) => console.error(`CSP: ${event.violatedDirective}`))"
    )
    try:
        watched = Watched(await made.new_page())
        await watched.page.goto(url)
        yield watched
    finally:
        await made.close()
