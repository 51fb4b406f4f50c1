"""Why a route does not take a request: each key of its match that fails, with what it wants and what the request has."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from proxy.config.problems import looks_secret
from proxy.config.schema import Match, TokenRange
from proxy.exchange import Facts
from proxy.policy.compiled import CompiledRoute
from proxy.policy.match import complexity_of, fixed_tests, live_tests, prompt_of

SHOWN_MAX = 80
"""Characters of a value that are shown; models and header values hold what clients like."""

_SECRET = ("authoriz", "api-key", "apikey", "token", "secret", "cookie", "passw", "credential", "signature")
"""What stands in the names of headers whose values are never shown."""


class Mismatch(msgspec.Struct, frozen=True):
    """One thing that does not fit. `key`: of the match, or ``from`` and ``until``. `sentence`: it all in words."""

    key: str
    wanted: str
    seen: str
    sentence: str


def mismatches(compiled: CompiledRoute, facts: Facts, now_s: float) -> tuple[Mismatch, ...]:
    """Everything of a route that `facts` do not fit; empty: it takes the request at `now_s`, in seconds since 1970.

    In stages, as when it is decided: the body is not looked into for a route whose line, headers or time do not fit.
    """
    match = compiled.route.match
    failed = [key for key, test in fixed_tests(match) if not test(facts)]
    if failed:
        return tuple(_mismatch(match, key, facts) for key in failed)
    if not compiled.in_force(now_s):
        return (_out_of_time(compiled, now_s),)
    return tuple(_mismatch(match, key, facts) for key, test in live_tests(match) if not test(facts))


def printable(text: str) -> str:
    """`text` for a line on a terminal: as it is where it is one plain word, else quoted; keys and long texts are left out."""
    if len(text) > SHOWN_MAX:
        return f"a value of {len(text)} characters"
    if looks_secret(text):
        return "a value (not shown)"
    return text if text.isprintable() and text and " " not in text else repr(text)


def moment(at_s: float) -> str:
    """Seconds since 1970 as RFC 3339, UTC, to the second."""
    try:
        return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # before the year 1 or after 9999
        return f"{at_s:.0f} seconds since 1970"


def _out_of_time(compiled: CompiledRoute, now_s: float) -> Mismatch:
    route, now = compiled.route, moment(now_s)
    if route.from_ is not None and now_s < route.from_:
        wanted = moment(route.from_)
        return Mismatch("from", wanted, now, f"from: begins at {wanted}, and it is {now}")
    wanted = moment(route.until or 0.0)
    return Mismatch("until", wanted, now, f"until: ended at {wanted}, and it is {now}")


def _mismatch(match: Match, key: str, facts: Facts) -> Mismatch:
    wanted, seen = _wanted(match, key), _seen(key, facts)
    return Mismatch(key, wanted, seen, f"{key}: wants {wanted}, the request {seen}")


def _wanted(match: Match, key: str) -> str:
    if key.startswith("header."):
        return _one_of(match.header[key[7:]])
    value = getattr(match, key)
    if isinstance(value, bool):
        thing = {"stream": "a stream", "audio": "audio", "json": "an answer in JSON"}.get(key, key)
        return thing if value else f"no {thing.removeprefix('a ').removeprefix('an ')}"
    if isinstance(value, TokenRange):
        over = None if value.over is None else f"more than {value.over}"
        up_to = None if value.up_to is None else f"at most {value.up_to}"
        return " and ".join(part for part in (over, up_to) if part is not None)
    return str(value) if isinstance(value, str) else _one_of(value)


def _one_of(values: tuple[str, ...]) -> str:
    return " or ".join(map(printable, values))


def _seen(key: str, facts: Facts) -> str:
    if key == "model":
        return "names none" if facts.model is None else f"has {printable(facts.model)}"
    if key == "path":
        return f"has {printable(facts.path)}"
    if key.startswith("header."):
        return header_seen(key[7:].lower(), facts)
    if key == "format":
        return f"is {facts.endpoint.format.value}"
    if key == "stream":
        return "asks for one" if facts.stream else "asks for none"
    if key == "complexity" and facts.complexity is not None:
        return f"is stated to be {facts.complexity}"
    if facts.look is None:
        return "has a body that is not looked into"
    if key == "complexity":
        return f"is {complexity_of(facts)}"
    prompt = prompt_of(facts)
    if key == "prompt_tokens":
        return f"has about {prompt.tokens}"
    if key == "json":
        return "asks for it" if prompt.json else "does not ask for it"
    return f"has {'some' if getattr(prompt, key) else 'none'}"


def header_seen(name: str, facts: Facts) -> str:
    """What the request has of a header."""
    value = facts.headers.get(name)
    if value is None:
        return "has none"
    return "has one (not shown)" if any(part in name for part in _SECRET) else f"has {printable(value)}"
