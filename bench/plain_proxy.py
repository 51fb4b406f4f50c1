"""The proxy one would write first: aiohttp's Application in front, its ClientSession behind, asyncio's own loop.

A subject of the benchmark, to show what the usual shape costs. It forwards every request to one upstream and relays the
answer as it arrives; it does not change the model, so it does less than Fusebox.
"""

from __future__ import annotations

import argparse
import ssl
from collections.abc import AsyncIterator

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length"}
BODY_LIMIT_BYTES = 64 * 1024**2
SESSION = web.AppKey("session", ClientSession)


def make_app(upstream: str, ca: str | None) -> web.Application:
    """The application; `upstream` is scheme, host and port, `ca` a PEM file to trust instead of the system's."""

    async def session(app: web.Application) -> AsyncIterator[None]:
        context = ssl.create_default_context(cafile=ca) if ca else True
        # limit=0: the default of 100 connections would let the cases with more streams hang
        connector = TCPConnector(limit=0, ssl=context)
        async with ClientSession(connector=connector, timeout=ClientTimeout(total=None), auto_decompress=False) as made:
            app[SESSION] = made
            yield

    async def forward(request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        body = await request.read()
        async with request.app[SESSION].request(
            request.method, upstream + request.raw_path, headers=headers, data=body, allow_redirects=False
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            response.content_length = answer.content_length
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    app = web.Application(client_max_size=BODY_LIMIT_BYTES)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


def main() -> None:
    """Reads the command line and serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.plain_proxy")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--ca")
    arguments = parser.parse_args()
    app = make_app(arguments.upstream, arguments.ca)
    web.run_app(app, host="127.0.0.1", port=arguments.port, access_log=None, backlog=4096, shutdown_timeout=1)


if __name__ == "__main__":
    main()
