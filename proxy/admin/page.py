"""``GET /``: the page. Three files of the package, no build, nothing from elsewhere; what it shows it asks ``/api/events`` for."""

from __future__ import annotations

from importlib.resources import files

from aiohttp import hdrs, web

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
"""Content Security Policy (https://www.w3.org/TR/CSP3/): only what this port itself serves, and no frames around it."""

_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def add_routes(app: web.Application) -> None:
    """Add the page's files to the admin application."""
    for path, (name, kind) in _FILES.items():
        app.router.add_get(path, _Serving(name, kind).answer)


class _Serving:
    """One file. Read when somebody first asks for it: nobody else pays for it at the start."""

    def __init__(self, name: str, kind: str) -> None:
        self._name = name
        self._kind = kind
        self._body: bytes | None = None

    async def answer(self, request: web.Request) -> web.Response:
        """The file."""
        if self._body is None:
            self._body = (files("proxy.admin") / "static" / self._name).read_bytes()
        return web.Response(
            body=self._body,
            content_type=self._kind,
            charset="utf-8",
            headers={
                "Content-Security-Policy": POLICY,
                "Referrer-Policy": "no-referrer",
                hdrs.CACHE_CONTROL: "no-cache",
            },
        )
