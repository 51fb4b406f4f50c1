"""Rules on which requests come to a route: first match wins, so one that stands too late, or asks too much, gets none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from heapq import merge

from proxy.config.covers import GLOB_MAX, always_while, any_covers, is_empty, rest_covers, takes_everything
from proxy.config.problems import Path, shown
from proxy.config.schema import Complexity, Config, Route
from proxy.config.whole import Whole

COMPARED_MAX = 50_000
"""Most comparisons of two routes. A policy of thousands of routes that differ in headers alone needs more; its last are
not judged.
"""


def check(config: Config, whole: Whole) -> None:
    """Notes the routes that no request can come to."""
    holding: list[int] = []
    for index, route in enumerate(config.routes):
        if _never_holds(index, route, whole):
            continue
        _classes(index, route, config.complexity, whole)
        if all(whole.sound(("routes", index, part)) for part in ("match", "from", "until")):
            holding.append(index)
    last = next((index for index in holding if takes_everything(config.routes[index])), len(config.routes))
    _after_everything(last, config, whole)
    _shadowed([index for index in holding if index <= last], config, whole)


def _never_holds(index: int, route: Route, whole: Whole) -> bool:
    """Whether the route's own conditions leave nothing, which is noted."""
    wanted = route.match.prompt_tokens
    path: Path = ("routes", index, "match", "prompt_tokens")
    if wanted is not None and is_empty(wanted) and whole.sound(path):
        said = f"no number is over {wanted.over} and up to {wanted.up_to}, so this route takes no request"
        whole.report(path, said, "write a smaller number after over, or a larger one after up_to")
        return True
    path = ("routes", index, "until")
    if route.from_ is not None and route.until is not None and route.until <= route.from_ and whole.sound(path):
        said = "this is not after `from`, so the route is never in force"
        whole.report(path, said, "write the later of the two after until")
        return True
    return False


def _classes(index: int, route: Route, settings: Complexity, whole: Whole) -> None:
    """A class that no request can look like is still there for clients that state it, so this is a warning."""
    never = {}
    if settings.simple_below <= 0:
        never["simple"] = "complexity.simple_below is 0"
    if settings.simple_below >= settings.complex_from:
        never["standard"] = "complexity.simple_below is no less than complex_from"
    if settings.creative_from > 1:
        never["creative"] = "complexity.creative_from is above 1"
    wanted = route.match.complexity
    path: Path = ("routes", index, "match", "complexity")
    if wanted and all(one in never for one in wanted) and whole.sound(path) and whole.sound(("complexity",)):
        said = f"no request looks {' or '.join(wanted)}: {never[wanted[0]]}"
        whole.warn(path, said, "move that bound, or have clients state the class in x-fusebox-complexity")


def _after_everything(last: int, config: Config, whole: Whole) -> None:
    lost = len(config.routes) - last - 1
    if lost < 1:
        return
    path: Path = ("routes", last, "match")
    if lost > 1:
        said = f"this route takes every request, so the {lost} after it are never reached"
    else:
        said = "this route takes every request, so the one after it is never reached"
    hint = "move it to the end" if whole.part_of(path)[0] is whole.parts[-1] else "move it to the end of the last file"
    whole.report(path, said, hint)


def _shadowed(indexes: list[int], config: Config, whole: Whole) -> None:
    earlier = Earlier(config)
    for index in indexes:
        route = config.routes[index]
        models: tuple[str | None, ...] = route.match.model or (None,)
        takers = [earlier.taker(route, model) for model in models]
        if None not in takers:
            _unreachable(index, [one for one in dict.fromkeys(takers) if one is not None], config, whole)
            continue
        for number, (model, taker) in enumerate(zip(models, takers, strict=True)):
            if taker is not None and model is not None:
                path: Path = ("routes", index, "match", "model", number)
                said = f"{shown(model)} never comes here: {_called(taker, path, config, whole)} takes it"
                whole.warn(path, said, "take it out here, or move this route above that one")
        earlier.add(index)


def _unreachable(index: int, takers: list[int], config: Config, whole: Whole) -> None:
    path: Path = ("routes", index, "match")
    named = " and ".join(_called(taker, path, config, whole) for taker in takers[:3])
    one = len(takers) == 1
    said = f"this route is never reached: {named} {'takes' if one else 'take'} every request that it matches"
    whole.report(path, said, f"move it above {'that one' if one else 'those'}, or take it out")


def _called(index: int, seen_from: Path, config: Config, whole: Whole) -> str:
    return f"route {shown(config.routes[index].name)} in {whole.line_of(('routes', index), seen_from)}"


class Earlier:
    """The routes so far, found by the models that they take, so that a large policy is judged in a time like its size.

    A glob can cover only what begins with its own text before the first star or question mark.
    """

    def __init__(self, config: Config) -> None:
        self._routes = config.routes
        self._by_model: defaultdict[str, list[int]] = defaultdict(list)
        self._by_beginning: defaultdict[str, list[int]] = defaultdict(list)
        self._of_any_model: list[int] = []
        self._compared = 0

    def add(self, index: int) -> None:
        """Count the route among those that come before the next one."""
        models = dict.fromkeys(self._routes[index].match.model)
        for model in models:
            if (beginning := _beginning(model)) == model:
                self._by_model[model].append(index)
            else:
                self._by_beginning[beginning].append(index)
        if not models:
            self._of_any_model.append(index)

    def taker(self, route: Route, model: str | None) -> int | None:
        """The first of them that takes all requests for `model` that `route` would take; None: none does for certain."""
        for index in self._candidates(model):
            other = self._routes[index]
            self._compared += 1 + len(other.match.model)
            if self._compared > COMPARED_MAX:
                return None
            if not always_while(other, route) or not rest_covers(other.match, route.match):
                continue
            if not other.match.model or (model is not None and any_covers(other.match.model, model)):
                return index
        return None

    def _candidates(self, model: str | None) -> Iterator[int]:
        """In their order; some may come twice."""
        if model is None:
            return iter(self._of_any_model)
        beginning = _beginning(model)[:GLOB_MAX]
        found = [self._of_any_model]
        if model in self._by_model:
            found.append(self._by_model[model])
        for length in range(len(beginning) + 1):
            if beginning[:length] in self._by_beginning:
                found.append(self._by_beginning[beginning[:length]])
        return merge(*found)


def _beginning(pattern: str) -> str:
    """What stands before the first star or question mark."""
    return pattern.split("*", 1)[0].split("?", 1)[0]
