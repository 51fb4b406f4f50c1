"""The admin port of a running Fusebox, as the commands ask it: one request, or the requests that end there, as they end."""

from __future__ import annotations

import http.client
from argparse import ArgumentTypeError
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

ADMIN = "127.0.0.1:4011"
"""Where ``fusebox dev`` and the example configuration have it."""

TOKEN = "FUSEBOX_ADMIN_TOKEN"  # noqa: S105 - the variable's name
"""The environment variable with the token, where the configuration asks for one (`admin_token`)."""

SILENT_S = 45.0
"""Without a word for so long a stream of events is dead: it says something every 15 seconds."""


class NotThere(Exception):
    """Nobody answers there, or it is no Fusebox, or it refuses; the text says what to do."""


def address(text: str) -> str:
    """HOST:PORT, from that or from a URL. Raises ArgumentTypeError."""
    parts = urlsplit(text if "://" in text else f"//{text}", scheme="http")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "http" or not parts.hostname or not port or parts.username is not None:
        raise ArgumentTypeError(f"{text!r} is no address: write it as in {ADMIN} or http://localhost:4011")
    return f"[{parts.hostname}]:{port}" if ":" in parts.hostname else f"{parts.hostname}:{port}"


def credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """The header line that proves who asks; none without a token."""
    token = environment.get(TOKEN, "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def ended(admin: str, environment: Mapping[str, str], kept: int, *, follow: bool = True) -> Iterator[dict[str, Any]]:
    """Requests as they end, each as its log line, the `kept` last of those before first. Raises NotThere.

    Ends when the other end does, or before the first new one unless it is to `follow`. `admin`: HOST:PORT. It is not asked
    through a proxy of the network: it runs on this machine, or at the other end of a port-forward.
    """
    connection = http.client.HTTPConnection(admin, timeout=SILENT_S)
    try:
        path = "/api/events" if kept else "/api/events?from=now"
        connection.request("GET", path, headers=credentials(environment))
        answer = connection.getresponse()
        if answer.status != 200 or answer.headers.get_content_type() != "text/event-stream":
            raise NotThere(_refused(answer, admin))
        for name, data in _events(answer):
            if name == "requests":
                lines = data[-kept:] if kept else data
                kept = 0 if kept else kept
                for line in lines:
                    yield {"event": "request", "level": "warning" if "error_code" in line else "info", **line}
            elif name == "state":
                kept = 0  # what follows is new
                if not follow:
                    return
    except (TimeoutError, ConnectionError, http.client.IncompleteRead):
        if connection.sock is None:
            raise NotThere(_nobody(admin)) from None
        return
    except OSError:
        raise NotThere(_nobody(admin)) from None
    except (http.client.HTTPException, ValueError):
        raise NotThere(f"what answers at {admin} is no Fusebox's admin port") from None
    finally:
        connection.close()


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    """Name and data of each event (WHATWG HTML section 9.2.6, as far as Fusebox writes it)."""
    name = ""
    for line in answer:
        if line.startswith(b"event: "):
            name = line[7:].strip().decode()
        elif line.startswith(b"data: "):
            yield name, orjson.loads(line[6:])


def _refused(answer: http.client.HTTPResponse, admin: str) -> str:
    try:
        told = orjson.loads(answer.read(65536))
    except ValueError:
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("error"), str):
        return f"what answers at {admin} is no Fusebox's admin port, or an older one"
    if answer.status == 401:
        return f"{admin} asks for a token: set {TOKEN} to it (what it holds now is not the one)"
    return f"{admin} refuses: {told['error']}"


def _nobody(admin: str) -> str:
    return (
        f"nothing to talk to at {admin}. Start `fusebox dev`; or name the admin address of one that runs, or a log file:"
        " fusebox tail HOST:PORT"
    )
