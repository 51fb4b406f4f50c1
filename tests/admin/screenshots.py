"""The pictures of the page in docs/: ``python -m tests.admin.screenshots [SECONDS]``, with so many of traffic (240).

Made-up traffic of made-up teams, and an outage in the middle of it.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.async_api import Page

from tests.admin.browsing import chromium, opened
from tests.harness import ROOT, Client, Exchange, Fusebox, Upstream, chat, ok

POLICY = """
retry: {{attempts: 0}}
breaker: {{open_for: 20s}}
providers:
  openai: {{base_url: "http://127.0.0.1:{port}/openai/v1", keys: none, max_concurrency: 64}}
  anthropic: {{base_url: "http://127.0.0.1:{port}/anthropic/v1", keys: none}}
  mistral: {{base_url: "http://127.0.0.1:{port}/mistral/v1", keys: [{{env: KEY_ONE}}]}}
models:
  openai/gpt-5.4: {{price: {{input: 2.50, cached_input: 0.25, output: 15.00}}}}
  anthropic/claude-sonnet-4-5: {{price: {{input: 3.00, output: 15.00}}}}
  mistral/mistral-large: {{price: {{input: 2.00, output: 6.00}}}}
routes:
  - name: search-canary
    match: {{model: "gpt-5*", header: {{x-team: search}}}}
    to: [{{openai/gpt-5.4: 90, mistral/mistral-large: 10}}, anthropic/claude-sonnet-4-5]
    sticky: header:x-user-id
  - {{name: drafts, match: {{model: draft}}, to: [mistral/mistral-large, anthropic/claude-sonnet-4-5]}}
  - {{name: everything-else, match: {{}}, to: [openai/gpt-5.4, anthropic/claude-sonnet-4-5]}}
"""

DESK, PHONE = {"width": 1360, "height": 1120}, {"width": 360, "height": 1480}
LIMITED = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 45\r\nContent-Length: 2\r\n\r\n{}"
OVERLOADED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"
SLOWEST_S = {"openai": 0.5, "anthropic": 0.9, "mistral": 0.3}


class Providers:
    """Three in one. `down`, `limited`: those that answer 503 and 429."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.limited: set[str] = set()
        self._chance = random.Random(5)

    async def answer(self, exchange: Exchange) -> None:
        """As that provider would which the path names."""
        name = exchange.target.decode().split("/")[1]
        if name in self.limited:
            await exchange.answer(LIMITED)
        elif name in self.down:
            await exchange.answer(OVERLOADED)
        else:
            await asyncio.sleep(SLOWEST_S[name] * self._chance.betavariate(2, 5))
            usage = {
                "prompt_tokens": self._chance.randint(200, 4000),
                "completion_tokens": self._chance.randint(20, 900),
            }
            await exchange.answer(ok(json.dumps({"choices": [], "usage": usage}).encode()))


async def _traffic(port: int, seed: int) -> None:
    chance = random.Random(seed)
    async with Client(port) as client:
        while True:
            headers = [("x-team", "search")] if chance.random() < 0.4 else []
            model = chance.choice(["gpt-5.4", "gpt-5.4", "gpt-5-mini", "draft", "auto"])
            await client.exchange(chat(model, headers))
            await asyncio.sleep(chance.uniform(0.1, 1.2))


async def shoot(page: Page, path: Path) -> None:
    """A picture with 256 colours, which is a third of the bytes and looks the same."""
    shot = Image.open(BytesIO(await page.screenshot()))
    shot.convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)


async def main(seconds: float, into: Path) -> None:
    """An hour of an operator's life in `seconds`."""
    providers = Providers()
    async with Upstream() as upstream, chromium() as browser:
        upstream.script = providers.answer
        config = POLICY.format(port=upstream.port)
        async with Fusebox(config, Path(tempfile.mkdtemp()), {"KEY_ONE": "sk-of-nobody"}) as fusebox:
            traffic = [asyncio.create_task(_traffic(fusebox.port, seed)) for seed in range(5)]
            await asyncio.sleep(seconds * 0.35)
            providers.down = {"openai"}
            await asyncio.sleep(seconds * 0.08)
            providers.down = set()
            await asyncio.sleep(seconds * 0.57)
            url = f"http://127.0.0.1:{fusebox.admin_port}/"
            async with opened(browser, url, viewport=DESK, device_scale_factor=1) as seen:
                providers.down, providers.limited = {"openai"}, {"mistral"}
                await seen.shows("#news", "openai: breaker open", "mistral: a key cools")
                await asyncio.sleep(12)
                await seen.get("#filter").fill("overloaded")
                await seen.get("tr.request button").nth(0).click()
                await seen.page.evaluate("scrollTo(0, 0)")
                await seen.page.mouse.move(5, 5)
                await shoot(seen.page, into / "page-outage.png")
                await seen.page.keyboard.press("Escape")
                await seen.get("#theme").click()
                await shoot(seen.page, into / "page-dark.png")
            async with opened(browser, url, viewport=PHONE, is_mobile=True, has_touch=True) as seen:
                await asyncio.sleep(2)
                await shoot(seen.page, into / "page-phone.png")
            for task in traffic:
                task.cancel()
            await asyncio.gather(*traffic, return_exceptions=True)


if __name__ == "__main__":
    chosen = sys.argv[1:]
    asyncio.run(main(float(chosen[0]) if chosen else 240.0, Path(chosen[1]) if chosen[1:] else ROOT / "docs"))
