"""What differs between two configurations, by name: no value is ever told, so no key can be. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from proxy.config.problems import render
from proxy.config.schema import Config


class Changes(msgspec.Struct, frozen=True, omit_defaults=True):
    """The names of what came, went and changed; ``NAME.KEY`` for each key of a thing that changed.

    `routes_moved`: routes that stand elsewhere among those that stayed. `other`: top-level keys with another value.
    """

    routes_added: tuple[str, ...] = ()
    routes_removed: tuple[str, ...] = ()
    routes_changed: tuple[str, ...] = ()
    routes_moved: tuple[str, ...] = ()
    providers_added: tuple[str, ...] = ()
    providers_removed: tuple[str, ...] = ()
    providers_changed: tuple[str, ...] = ()
    models_added: tuple[str, ...] = ()
    models_removed: tuple[str, ...] = ()
    models_changed: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__struct_fields__)


_NAMED = {"routes", "providers", "models"}


def changes(before: Config, after: Config) -> Changes:
    """What `after` has otherwise than `before`."""
    old, new = ({route.name: route for route in config.routes} for config in (before, after))
    added, removed, changed = _compared(old, new)
    providers = _compared(before.providers, after.providers)
    models = _compared(before.models, after.models)
    return Changes(
        routes_added=added,
        routes_removed=removed,
        routes_changed=changed,
        routes_moved=moved([name for name in old if name in new], [name for name in new if name in old]),
        providers_added=providers[0],
        providers_removed=providers[1],
        providers_changed=providers[2],
        models_added=models[0],
        models_removed=models[1],
        models_changed=models[2],
        other=tuple(key for key in _differing(before, after) if key not in _NAMED),
    )


def _compared(
    before: Mapping[str, msgspec.Struct], after: Mapping[str, msgspec.Struct]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The names added, removed, and changed with the key that differs; a model may have the name of a key by mistake."""
    return (
        tuple(_shown(name) for name in after if name not in before),
        tuple(_shown(name) for name in before if name not in after),
        tuple(
            f"{_shown(name)}.{key}" for name in after if name in before for key in _differing(before[name], after[name])
        ),
    )


def _shown(name: str) -> str:
    hidden = render((name,)) == "[not shown]"
    return "[not shown]" if hidden else name


def _differing(before: msgspec.Struct, after: msgspec.Struct) -> list[str]:
    """The keys, as written in the file, whose values differ."""
    names = zip(before.__struct_fields__, before.__struct_encode_fields__, strict=True)
    return [key for name, key in names if getattr(before, name) != getattr(after, name)]


def moved(before: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    """The fewest of the same names that must be moved to bring one order into the other, as they stand in `after`.

    Those that need not be are a longest increasing run of their old places (patience sorting).
    """
    place = {name: index for index, name in enumerate(before)}
    ends: list[int] = []  # the least old place at which a run of each length ends
    run: list[int] = []  # for each name of `after`, how long the longest run is that ends with it
    for name in after:
        length = bisect_left(ends, place[name])
        ends[length : length + 1] = [place[name]]
        run.append(length)
    stays, wanted, limit = set(), len(ends) - 1, len(before)
    for name, length in zip(reversed(after), reversed(run), strict=True):
        if length == wanted and place[name] < limit:
            stays.add(name)
            wanted, limit = wanted - 1, place[name]
    return tuple(name for name in after if name not in stays)


def needs_restart(config: Config, started: Config) -> tuple[str, ...]:
    """The keys of `config` that take effect only when the process starts, and differ from those it has `started` with."""
    fixed = {
        "listen": config.listen != started.listen,
        "admin": config.admin != started.admin,
        "log.format": config.log.format != started.log.format,
        "traces": config.traces != started.traces,
        "limits.headers": config.limits.headers != started.limits.headers,
    }
    return tuple(key for key, differs in fixed.items() if differs)


def in_force(config: Config, started: Config) -> Config:
    """`config` as it takes effect in a process that has `started` with another one: sockets and the parser stay."""
    limits = replace(config.limits, headers=started.limits.headers)
    return replace(config, listen=started.listen, admin=started.admin, limits=limits)
