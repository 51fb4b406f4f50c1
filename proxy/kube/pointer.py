"""JSON Patch (RFC 6902) as far as the injector writes it: `add` and `replace`, by JSON Pointer (RFC 6901)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Literal, TypedDict


class Operation(TypedDict):
    """One operation; `value` is JSON."""

    op: Literal["add", "replace"]
    path: str
    value: Any


def pointer(*parts: str | int) -> str:
    """The pointer that names `parts`, from the root on."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def parts_of(path: str) -> list[str]:
    """The opposite of `pointer`."""
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def add(path: str, value: Any) -> Operation:
    """Put a value into an object, or before an index of a list; ``-``: at its end."""
    return {"op": "add", "path": path, "value": value}


def replace(path: str, value: Any) -> Operation:
    """Put a value in the place of one that is there."""
    return {"op": "replace", "path": path, "value": value}


def apply(document: Any, patch: Iterable[Operation]) -> Any:
    """A copy of `document` with the patch applied. Raises KeyError, IndexError: the patch is not for this document."""
    whole = copy.deepcopy(document)
    for operation in patch:
        *way, last = parts_of(operation["path"])
        place = whole
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        value = copy.deepcopy(operation["value"])
        if isinstance(place, dict):
            if operation["op"] == "replace" and last not in place:
                raise KeyError(last)
            place[last] = value
        elif operation["op"] == "replace":
            place[int(last)] = value
        else:
            index = len(place) if last == "-" else int(last)
            if index > len(place):
                raise IndexError(index)
            place.insert(index, value)
    return whole
