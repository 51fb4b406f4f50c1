"""What the page is made of: three files and an icon, complete, with nothing from elsewhere and nothing inline."""

from __future__ import annotations

import re
import tomllib
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from proxy.admin import page
from tests.harness import ROOT

STATIC = ROOT / "proxy" / "admin" / "static"
FILES = {path.name: path.read_text() for path in STATIC.iterdir()}


class Tags(HTMLParser):
    """The tags of a page, each with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One more."""
        self.all.append((tag, dict(attrs)))


TAGS = Tags(FILES["index.html"]).all


@pytest_asyncio.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    """Of an application that has the page alone."""
    app = web.Application()
    page.add_routes(app)
    async with TestClient(TestServer(app)) as made:
        yield made


@pytest.mark.parametrize(
    ("path", "name", "kind"),
    [
        ("/", "index.html", "text/html"),
        ("/page.js", "page.js", "text/javascript"),
        ("/page.css", "page.css", "text/css"),
        ("/icon.svg", "icon.svg", "image/svg+xml"),
    ],
)
async def test_the_files(client: TestClient[Any, Any], path: str, name: str, kind: str) -> None:
    """Each as it lies in the package, with its kind and the policy that forbids everything but the page's own files."""
    answer = await client.get(path)
    assert (answer.status, answer.content_type, answer.charset) == (200, kind, "utf-8")
    assert await answer.text() == FILES[name]
    rules = dict(rule.strip().split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split(";"))
    nothing = dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'")
    own = dict.fromkeys(("script-src", "style-src", "connect-src", "img-src"), "'self'")
    assert rules == nothing | own
    assert answer.headers["Referrer-Policy"] == "no-referrer" and answer.headers["Cache-Control"] == "no-cache"


def test_nothing_inline_and_nothing_from_elsewhere() -> None:
    """The policy would refuse it, and it works offline: every address is of this port."""
    for tag, attributes in TAGS:
        assert "style" not in attributes and not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert tag != "style" and (tag != "script" or attributes["src"] == "/page.js")
        for name in ("src", "href"):
            assert re.fullmatch(r"[/#][a-z./-]*", attributes.get(name) or "/"), (tag, attributes)
    for name in ("page.js", "page.css"):
        assert set(re.findall(r"https?://[^\s\"'`)]+", FILES[name])) <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in FILES["page.css"] and "url(" not in FILES["page.css"]


def test_text_goes_into_the_page_as_text_alone() -> None:
    """No way that would make markup, or code, of a string is used at all."""
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc"):
        assert way not in FILES["page.js"]


def test_what_the_script_looks_for_is_there() -> None:
    """Each id that it names is one of the page's."""
    ids = {attributes["id"] for _, attributes in TAGS if "id" in attributes}
    named = set(re.findall(r"\$\(\"([\w-]+)\"\)", FILES["page.js"]))
    assert named and named <= ids


def test_the_package_takes_them_along() -> None:
    """A wheel without them would serve no page."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    taken = {path for pattern in table["proxy.admin"] for path in (ROOT / "proxy" / "admin").glob(pattern)}
    assert taken == set(STATIC.iterdir()) == {STATIC / Path(name) for name in FILES}
