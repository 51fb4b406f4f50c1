"""What a client wishes for its request in header lines: a class, a time, no fallback. `explain` reads them here, too."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.errors import BadRequest

_COMPLEXITIES = frozenset(("simple", "standard", "complex", "creative"))
_NO = ("", "0", "false", "no")


def total_s(config_total_s: float, wanted: Mapping[str, str]) -> float:
    """Seconds for all attempts together: the policy's, or what the client says it will wait if that is less."""
    total = config_total_s
    for name, unit in (("x-fusebox-timeout-ms", 0.001), ("x-stainless-read-timeout", 1.0)):
        value = wanted.get(name)
        if value is None:
            continue
        try:
            stated = float(value) * unit
        except ValueError:
            stated = 0.0
        if 0 < stated < float("inf"):
            total = min(total, stated)
        elif name == "x-fusebox-timeout-ms":
            raise BadRequest(f"x-fusebox-timeout-ms must be a number of milliseconds above 0, not {value[:40]!r}")
    return total


def complexity(wanted: Mapping[str, str]) -> str:
    """The class that ``x-fusebox-complexity`` states. Raises BadRequest for one that does not exist."""
    stated = wanted["x-fusebox-complexity"]
    if stated not in _COMPLEXITIES:
        raise BadRequest(f"x-fusebox-complexity must be one of {', '.join(sorted(_COMPLEXITIES))}, not {stated[:40]!r}")
    return stated


def no_fallback(wanted: Mapping[str, str]) -> bool:
    """Whether ``x-fusebox-no-fallback`` keeps the request to the first target."""
    return wanted.get("x-fusebox-no-fallback", "").lower() not in _NO
