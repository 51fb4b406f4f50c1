"""The configuration's JSON Schema (2020-12), for completion and checks in an editor: from the types of ``config/schema``.

It accepts every file that `parse` accepts, and refuses unknown keys, wrong kinds of values and words that there are not.
Rules between the parts are for ``fusebox check``. What `Reader` takes in more than one shape is written here in the same
shapes, so a new shape there wants one here; a test reads the same files with both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec.inspect as types

from proxy.config import syntax
from proxy.config.parse import INCLUDES_MAX
from proxy.config.reader import is_text
from proxy.config.schema import (
    Bytes,
    Config,
    Included,
    Keys,
    KeySource,
    Listen,
    Match,
    Moment,
    Retry,
    RouteRetry,
    RouteTimeouts,
    Seconds,
    Step,
    Timeouts,
)

Shape = dict[str, Any]
"""A schema, as JSON has it."""

_TARGET = {"type": "string", "minLength": 1, "pattern": r"^[^/]+(/.+)?$"}
_PATTERNS: dict[Callable[[str], Any], str] = {
    syntax.url_root: r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s?#@]+$",
    syntax.otlp_root: r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s?#@]+$",
    syntax.env_name: r"^[A-Za-z_][A-Za-z0-9_]*$",
    syntax.header_name: r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
    syntax.sticky: r"^(user|prompt|header:.+)$",
}
_EXAMPLES = {
    Seconds: ["250ms", "5s", "2m"],
    Bytes: ["64KiB", "64MiB"],
    Moment: ["2026-12-01T06:00:00Z"],
    Listen: ["127.0.0.1:4010", "localhost:4010"],
}
_TOLD_AT: dict[type, type] = {RouteTimeouts: Timeouts, RouteRetry: Retry}
"""Where the fields of a route's own settings are described."""
_NUMBER_WORDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def text() -> str:
    """The schema as it stands in ``config.schema.json``."""
    return json.dumps(build(), indent=2, ensure_ascii=False) + "\n"


def build() -> Shape:
    """The schema of a main file; that of an included one is its ``#/$defs/Included``."""
    definitions = _Definitions()
    root = definitions.struct(_struct(Config))
    definitions.of(_struct(Included))
    # Providers may be missing in a candidate policy, and both in a file that includes others; `check` knows which it is.
    root["anyOf"] = [{"required": ["routes"]}, {"required": ["include"]}]
    root["properties"]["include"]["anyOf"][1]["maxItems"] = INCLUDES_MAX
    del root["required"]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Fusebox configuration"}
    return {**head, **root, "$defs": dict(sorted(definitions.shapes.items()))}


def _struct(cls: type) -> types.StructType:
    kind = types.type_info(cls)
    assert isinstance(kind, types.StructType)
    return kind


class _Definitions:
    """The types that stand under ``$defs``, by the name of their class, each written when it is first needed."""

    def __init__(self) -> None:
        self.shapes: dict[str, Shape] = {}

    def of(self, kind: types.StructType | types.CustomType) -> Shape:
        """A reference to the definition of `kind`."""
        name = kind.cls.__name__
        if name not in self.shapes:
            self.shapes[name] = {}  # stands in while the definition is written, in case it refers to itself
            self.shapes[name] = self._define(kind)
        return {"$ref": f"#/$defs/{name}"}

    def _define(self, kind: types.StructType | types.CustomType) -> Shape:
        cls = kind.cls
        if cls is Keys:
            sources = {"type": "array", "minItems": 1, "items": self.of(_struct(KeySource))}
            return {"description": _about(cls), "anyOf": [{"enum": ["client", "none"]}, sources]}
        if cls is Step:
            weighted = {
                "type": "object",
                "minProperties": 1,
                "propertyNames": _TARGET,
                "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
            }
            return {"description": _about(cls), "anyOf": [_TARGET, weighted]}
        if hasattr(cls, "parse"):
            # A plain number of bytes needs no quotes.
            kinds: Any = ["string", "integer"] if cls is Bytes else "string"
            bound = {"minimum": 0} if cls is Bytes else {}
            written = {"pattern": getattr(cls, "PATTERN"), "examples": _EXAMPLES[cls]}  # noqa: B009  # only texts have one
            return {"description": _about(cls), "type": kinds, **bound, **written}
        assert isinstance(kind, types.StructType)
        return self.struct(kind)

    def struct(self, kind: types.StructType) -> Shape:
        """The schema of a mapping with known keys."""
        told = _fields_told(_TOLD_AT.get(kind.cls, kind.cls))
        properties = {}
        for one in kind.fields:
            shape = self.shape(one.type)
            said = told.get(one.encode_name)
            if said and said != "See there.":
                shape = {"description": said, **{key: value for key, value in shape.items() if key != "description"}}
            default = _default(one)
            properties[one.encode_name] = shape if default is None else {**shape, "default": default}
        shape = {"description": _about(kind.cls), "type": "object", "additionalProperties": False}
        shape["properties"] = properties
        required = [one.encode_name for one in kind.fields if one.required]
        if required:
            shape["required"] = required
        elif kind.cls is KeySource:
            shape |= {"minProperties": 1, "maxProperties": 1}
        elif kind.cls is not Match:
            shape["type"] = ["object", "null"]
        return shape

    def shape(self, kind: types.Type) -> Shape:
        """The schema of what `Reader` reads as `kind`."""
        match kind:
            case types.Metadata(type=inner, extra=extra, extra_json_schema=described):
                shape = self.shape(inner)
                pattern = _PATTERNS.get((extra or {}).get("parse"))  # type: ignore[arg-type]  # None is in no table
                return {**(described or {}), **shape, **({"pattern": pattern} if pattern else {})}
            case types.UnionType(types=choices):
                (inner,) = (one for one in choices if not isinstance(one, types.NoneType))
                return _or_null(self.shape(inner))
            case types.StructType() | types.CustomType():
                return self.of(kind)
            case types.DictType(key_type=key, value_type=value):
                shape = {"type": "object", "propertyNames": self.shape(key), "additionalProperties": self.shape(value)}
                return {**shape, "minProperties": 1} if is_text(value) else {**shape, "type": ["object", "null"]}
            case types.VarTupleType(item_type=item):
                items = self.shape(item)
                if is_text(item):
                    return {"anyOf": [items, {"type": "array", "minItems": 1, "items": items}]}
                return {"type": ["array", "null"], "items": items}
        return _simple(kind)


def _simple(kind: types.Type) -> Shape:
    match kind:
        case types.LiteralType(values=values):
            return {"enum": list(values)}
        case types.BoolType():
            return {"type": "boolean"}
        case types.IntType() | types.FloatType():
            bounds = {word: getattr(kind, name) for name, word in _NUMBER_WORDS.items()}
            number = "integer" if isinstance(kind, types.IntType) else "number"
            return {"type": number, **{word: bound for word, bound in bounds.items() if bound is not None}}
        case types.StrType(pattern=pattern):
            return {"type": "string", "minLength": 1, **({"pattern": pattern} if pattern else {})}
    raise TypeError(f"no schema for {kind}")


def _or_null(shape: Shape) -> Shape:
    if isinstance(shape.get("type"), str):
        return {**shape, "type": [shape["type"], "null"]}
    if "enum" in shape:
        return {**shape, "enum": [*shape["enum"], None]}
    about = {"description": shape["description"]} if "description" in shape else {}
    return {**about, "anyOf": [{key: value for key, value in shape.items() if key not in about}, {"type": "null"}]}


def _default(one: types.Field) -> Any:
    """The default as it would be written; None when there is none, or when it is made of several values."""
    match one.default:
        case Seconds():
            return f"{one.default:g}s"
        case Listen():
            return str(one.default)
        case bool() | int() | float() | str():
            return one.default
    return None


def _about(cls: type) -> str:
    """The first paragraph of a class's docstring, on one line."""
    return _plain((cls.__doc__ or "").strip().split("\n\n")[0])


def _fields_told(cls: type) -> dict[str, str]:
    """What the docstring says of single fields, up to the next one or the end of the paragraph: "`window`: how far back
    failures count. `open_for`: ...".
    """
    told = {}
    for paragraph in re.split(r"\n\s*\n", cls.__doc__ or ""):
        parts = re.split(r"((?:`\w+`(?:, | and )?)+): ", " ".join(paragraph.split()))
        for names, said in zip(parts[1::2], parts[2::2], strict=True):
            for name in re.findall(r"`(\w+)`", names):
                told[name] = _plain(said[:1].upper() + said[1:])
    return told


def _plain(said: str) -> str:
    return " ".join(said.replace("``", "`").split())
