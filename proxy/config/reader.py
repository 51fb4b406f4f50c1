"""A node tree read against the types of ``config/schema``: values, and every problem on the way.

`Reader` walks both together, as `msgspec.inspect` shows the types. What cannot be read is replaced by a blank value and
remembered, so that one pass finds all problems and the rules that look at the whole can leave blanks alone.
"""

from __future__ import annotations

from typing import Any

import msgspec.inspect as types
from msgspec import NODEFAULT

from proxy.config import syntax
from proxy.config.nodes import MAX_NODES, Mapping, Node, Place, Scalar, Sequence, Unreadable, entries
from proxy.config.problems import BadValue, Path, Problem, Severity, did_you_mean, looks_secret, render, shown
from proxy.config.scalars import Asked, number_of, text_of, truth_of, what, word_of
from proxy.config.schema import (
    CLIENT_KEYS,
    Config,
    Hedge,
    Included,
    Keys,
    KeySource,
    Match,
    Mirror,
    Price,
    Provider,
    Route,
    Step,
    TokenRange,
)
from proxy.exchange import Target

KEYS_HINT = "write where each key comes from: keys: [{env: NAME}] or [{file: PATH}]; or keys: none, or keys: client"
EXAMPLES = {
    (Config, "providers"): 'write for example "providers: {openai: {keys: [{env: OPENAI_API_KEY}]}}"',
    (Config, "routes"): 'write for example "routes: [{name: everything, match: {}, to: [openai]}]"',
    (Route, "name"): "give the route a name; it stands in logs and headers",
    (Route, "match"): 'write "match: {}" to take every request, or "match: {model: gpt-5*}" for some',
    (Route, "to"): 'write the chain of targets, as in "to: [openai/gpt-5.4, anthropic]"',
    (Mirror, "to"): 'write where the copies go, as in "mirror: {to: deepseek/deepseek-chat, percent: 5}"',
    (Hedge, "after"): 'write how long a first event may take, as in "hedge: {after: 2s}"',
}
SHAPES = {
    Config: 'begin the file with "providers:" and "routes:"; config.yaml shows every key',
    Included: 'begin the file with "providers:", "models:" or "routes:"',
    Match: EXAMPLES[Route, "match"],
    Price: "write USD per million tokens, as in {input: 2.50, output: 15.00}",
    TokenRange: "write {over: 200000} or {up_to: 8000}",
    Mirror: "write {to: provider/model, percent: 10}",
    KeySource: "write where it comes from: {env: NAME} or {file: PATH}",
}
# Names that people know from other tools, and what is written here instead.
_KEY_ITSELF = frozenset({"api_key", "apikey", "api_keys", "key", "token", "api-key"})
_CALLED_HERE = {
    "url": "base_url",
    "api_base": "base_url",
    "endpoint": "base_url",
    "fallback": "to",
    "fallbacks": "to",
    "targets": "to",
    "target": "to",
    "port": "listen",
}
MAX_PROBLEMS = 1000
"""Most problems reported. Nobody reads more, and each one costs a search for the name that was meant."""

_WEIGHT = types.FloatType(gt=0)
_KEY_SOURCE = types.type_info(KeySource)


class Reader:
    """One pass over the tree of `file`. Afterwards: `problems`, and by path the `places` of all values and the `blanks`."""

    def __init__(self, file: str = "") -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.places: dict[Path, Place] = {}
        self.blanks: set[Path] = set()
        self._around_blanks: set[Path] = set()
        self._walked = 0

    def report(
        self,
        path: Path,
        message: str,
        hint: str | None = None,
        *,
        place: Place | None = None,
        severity: Severity = "error",
    ) -> None:
        """Notes a problem at `place`, else where `path` or the nearest value around it stands."""
        line, column = place or self.place_of(path)
        if len(self.problems) == MAX_PROBLEMS:
            said = f"there are more than {MAX_PROBLEMS} problems; those after this one in reading order are left out"
            raise Unreadable(Problem(line, column, "", said, file=self.file))
        self.problems.append(Problem(line, column, render(path), message, hint, severity, self.file))

    def leave_blank(self, path: Path) -> None:
        """Remembers that nothing can be said of `path`."""
        self.blanks.add(path)
        self._around_blanks.update(path[:length] for length in range(len(path)))

    def sound(self, path: Path) -> bool:
        """True when nothing at, in or around `path` was left blank, so that a rule on it makes sense."""
        around = (path[:length] for length in range(len(path) + 1))
        return path not in self._around_blanks and self.blanks.isdisjoint(around)

    def place_of(self, path: Path) -> Place:
        """Where the value at `path` stands, or what is around it when it is not written; 1:1 at the least."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return (1, 1)

    def read(self, kind: types.Type, node: Node, path: Path, place: Place) -> Any:
        """The value of `node` as `kind`; a blank, with a problem noted, when it is not one."""
        self._walk(node)
        self.places[path] = place
        try:
            if _is_template(node):
                raise BadValue(
                    "{{ ... }}: a template that was not filled in", "render the file before Fusebox reads it"
                )
            return self._read(kind, node, path, Asked())
        except BadValue as error:
            self.report(path, error.what, error.hint)
            self.leave_blank(path)
            return _blank(kind)

    def _walk(self, node: Node) -> None:
        """Counts what is walked: aliases make a small text stand for a tree without end."""
        self._walked += 1
        if self._walked > MAX_NODES:
            message = f"aliases blow this file up to more than {MAX_NODES} values"
            raise Unreadable(Problem(*node.place, "", message, "repeat less by alias", file=self.file))

    def _read(self, kind: types.Type, node: Node, path: Path, asked: Asked) -> Any:
        """The value of `node` as `kind`. Raises BadValue when the node itself is wrong; notes what is wrong in it."""
        match kind:
            case types.Metadata(type=inner, extra=extra, extra_json_schema=described):
                told = Asked((extra or {}).get("parse"), (described or {}).get("description"))
                return self._read(inner, node, path, told)
            case types.UnionType(types=choices):
                if isinstance(node, Scalar) and node.tag == "null" and node.text:
                    return None
                return self._read(next(c for c in choices if not isinstance(c, types.NoneType)), node, path, asked)
            case types.StructType(cls=cls) if cls is Keys:
                return self._keys(node, path)
            case types.StructType(cls=cls) if cls is Step:
                return self._step(node, path)
            case types.StructType(cls=cls) if cls is KeySource:
                return self._key_source(kind, node, path)
            case types.StructType(cls=cls) | types.CustomType(cls=cls) if hasattr(cls, "parse"):
                return text_of(node, Asked(cls.parse))
            case types.StructType():
                return self._struct(kind, node, path)
            case types.DictType():
                return self._dict(kind, node, path)
            case types.VarTupleType():
                return self._list(kind, node, path)
            case types.LiteralType(values=values):
                return word_of(node, values)
            case types.BoolType():
                return truth_of(node)
            case types.IntType() | types.FloatType():
                return number_of(node, kind)
            case types.StrType(pattern=pattern):
                return text_of(node, Asked(asked.parse, asked.hint, pattern))
        raise TypeError(f"no reading for {kind}")

    # Mappings and lists.

    def _struct(self, kind: types.StructType, node: Node, path: Path) -> Any:
        fields = {one.encode_name: one for one in kind.fields}
        bare = not any(one.required for one in kind.fields) and kind.cls not in (Match, KeySource)
        if bare and isinstance(node, Scalar) and node.tag == "null":
            return kind.cls()
        if not isinstance(node, Mapping):
            hint = f"write {{{next(iter(fields))}: ...}}, or key: value pairs on lines of their own"
            raise BadValue(f"a mapping is wanted here, not {what(node)}", SHAPES.get(kind.cls, hint))
        values = {}
        meant = set()
        for key, child, place in self._pairs(node, path):
            if key in fields:
                values[fields[key].name] = self.read(fields[key].type, child, (*path, key), _best_place(child, place))
            else:
                meant.add(self._unknown(kind.cls, key, list(fields), path, place))
        for name, one in fields.items():
            if one.required and one.name not in values:
                if f"did you mean {name}?" not in meant:
                    self.report((*path, name), f"`{name}` is missing", EXAMPLES.get((kind.cls, name)))
                self.leave_blank((*path, name))
                values[one.name] = _blank(one.type)
        return kind.cls(**values)

    def _unknown(self, cls: type, key: str, known: list[str], path: Path, place: Place) -> str | None:
        """Notes a key that there is not, and returns the hint that was given."""
        hint = did_you_mean(key, known)
        if cls in (Provider, KeySource) and key.lower() in _KEY_ITSELF:
            hint = f"a key itself is never written in this file; {KEYS_HINT}"
        elif cls is Included and key == "include":
            hint = "an included file includes no other; name that one in the file that includes this one"
        elif cls is Included and key in Config.__struct_fields__:
            hint = "an included file holds providers, models and routes; write this in the file that includes it"
        elif _CALLED_HERE.get(key.lower()) in known:
            hint = f"it is called `{_CALLED_HERE[key.lower()]}` here"
            if key.lower().startswith("fallback"):
                hint = "write the fallbacks into `to`, in their order, after the target that they stand in for"
        self.report((*path, key), "unknown key", hint, place=place)
        self.leave_blank((*path, key))
        return hint

    def _dict(self, kind: types.DictType, node: Node, path: Path) -> Any:
        of_text = is_text(kind.value_type)
        if isinstance(node, Scalar) and node.tag == "null" and not of_text:
            return {}
        if not isinstance(node, Mapping):
            example = EXAMPLES.get((Config, str(path[-1]))) if len(path) == 1 else None
            raise BadValue(f"a mapping is wanted here, not {what(node)}", example or "write name: value pairs below it")
        if of_text and not node.pairs:
            raise BadValue("an empty mapping", "name at least one, or leave this key out")
        values: dict[str, Any] = {}
        for key, child, place in self._pairs(node, path):
            if self._misplaced(kind, key, child):
                said = f"`{key}` stands where the name of one of these {path[-1]} is wanted"
                self.report((*path, key), said, "indent it more, so that it stands below the name", place=place)
                self.leave_blank((*path, key))
                continue
            name = self.read(kind.key_type, Scalar(place, key, "str"), (*path, key), place)
            value = self.read(kind.value_type, child, (*path, key), _best_place(child, place))
            if name in values:
                self.report(
                    (*path, key), f"{shown(key)} is written twice: case does not count", "keep one", place=place
                )
            values[name or key] = value
        return values

    def _misplaced(self, kind: types.DictType, key: str, child: Node) -> bool:
        """Whether a key of a value in this mapping has slipped out of it, to where names are wanted."""
        inner = kind.value_type
        if not isinstance(inner, types.StructType) or isinstance(child, Mapping):
            return False
        return any(key == one.encode_name for one in inner.fields)

    def _list(self, kind: types.VarTupleType, node: Node, path: Path) -> Any:
        of_text = is_text(kind.item_type)
        if isinstance(node, Scalar):
            if of_text:
                return (self._read(kind.item_type, node, path, Asked()),)
            if node.tag == "null":
                return ()
        if not isinstance(node, Sequence):
            hint = "write it in brackets, [a, b], or one a line, each after a dash"
            if isinstance(node, Scalar) and not looks_secret(node.text) and len(node.text) < 40:
                hint = f"put it in brackets: [{node.text}]"
            elif isinstance(kind.item_type, types.StructType) and isinstance(node, Mapping):
                hint = f"begin each one with a dash, as in - {kind.item_type.fields[0].encode_name}: ..."
            raise BadValue(f"a list is wanted here, not {what(node)}", hint)
        if of_text and not node.items:
            raise BadValue("an empty list", "name at least one, or leave this key out")
        items = enumerate(node.items)
        return tuple(self.read(kind.item_type, child, (*path, index), child.place) for index, child in items)

    def _pairs(self, node: Mapping, path: Path) -> list[tuple[str, Node, Place]]:
        """Key, value and place of the key; duplicates and keys that are no text are noted and left out."""
        found: dict[str, tuple[str, Node, Place]] = {}
        for key, value, merged in entries(node, self._walk):
            if not isinstance(key, Scalar):
                self.report(path, f"{what(key)} stands as a key", "write a key as plain text", place=key.place)
            elif key.tag not in ("str", "value"):
                said = f"the key {shown(key.text)} is {what(key)} to YAML" if key.text else "an empty key"
                self.report(path, said, "put it in quotes" if key.text else "write the key's name", place=key.place)
                self.leave_blank((*path, key.text))
            elif key.text not in found:
                found[key.text] = (key.text, value, key.place)
            elif not merged:
                first = found[key.text][2][0]
                self.report((*path, key.text), f"written twice, first in line {first}", "keep one", place=key.place)
        return list(found.values())

    # Values with a shape of their own.

    def _keys(self, node: Node, path: Path) -> Keys:
        """Keys. No value that stands here is ever quoted: a key pasted in place of its source must not be printed."""
        match node:
            case Scalar(text="none" | "client", tag="str"):
                return Keys("none" if node.text == "none" else "client")
            case Scalar(tag="null"):
                raise BadValue("no value is written", KEYS_HINT)
            case Scalar():
                raise BadValue("a key is never written in this file (the value is not shown)", KEYS_HINT)
            case Sequence(items=[]):
                raise BadValue("an empty list", "name a key, or write keys: none to send no credentials")
            case Sequence(items=items):
                sources = (self.read(_KEY_SOURCE, item, (*path, i), item.place) for i, item in enumerate(items))
                return Keys("own", tuple(sources))
        raise BadValue(f"a list is wanted here, not {what(node)}", "put it in brackets, as in keys: [{env: NAME}]")

    def _key_source(self, kind: types.StructType, node: Node, path: Path) -> KeySource:
        if not isinstance(node, Mapping):
            said = "a key is never written in this file (the value is not shown)"
            self.report(path, said, KEYS_HINT if isinstance(path[-1], int) else SHAPES[KeySource], place=node.place)
            return KeySource()
        before = len(self.problems)
        source: KeySource = self._struct(kind, node, path)
        if len(self.problems) == before and (source.env is None) == (source.file is None):
            said = "names neither env nor file" if source.env is None else "names both env and file"
            self.report(path, f"this key {said}", "write {env: NAME} or {file: PATH}, one a key")
        return source

    def _step(self, node: Node, path: Path) -> Step:
        if isinstance(node, Scalar):
            return Step(((text_of(node, Asked(syntax.target)), 1.0),))
        if not isinstance(node, Mapping):
            hint = "write provider/model, or {provider/model: 95, other/model: 5} for a weighted step"
            raise BadValue(f"a target is wanted here, not {what(node)}", hint)
        if not node.pairs:
            raise BadValue("a weighted step without a target", "write {provider/model: 95, other/model: 5}")
        choices: list[tuple[Target, float]] = []
        for key, child, place in self._pairs(node, path):
            if isinstance(child, Scalar) and child.text == "0":
                said = "a weight of 0 sends nothing here"
                self.report((*path, key), said, "write a number above 0, or take this target out", place=child.place)
                self.leave_blank((*path, key))
                continue
            weight = self.read(_WEIGHT, child, (*path, key), _best_place(child, place))
            self.places[(*path, key)] = place  # what is still said of this path is about the target
            try:
                choices.append((text_of(Scalar(place, key, "str"), Asked(syntax.target)), weight))
            except BadValue as error:
                self.report((*path, key), error.what, error.hint, place=place)
                self.leave_blank((*path, key))
        return Step(tuple(choices))


def _is_template(node: Node) -> bool:
    """True for ``{{ ... }}`` outside quotes, which YAML takes for a mapping whose key is a mapping."""
    line, column = node.place
    return isinstance(node, Mapping) and any(
        isinstance(key, Mapping) and key.place == (line, column + 1) for key, _ in node.pairs
    )


def _best_place(node: Node, key: Place) -> Place:
    """Where a reader should look: at the value when it is one value, written out; else at its key."""
    return node.place if isinstance(node, Scalar) and not node.empty else key


def is_text(kind: types.Type) -> bool:
    """True for text and lists of it: written empty, these would make a match take more than was meant."""
    match kind:
        case types.Metadata(type=inner) | types.VarTupleType(item_type=inner):
            return is_text(inner)
    return isinstance(kind, types.StrType | types.LiteralType)


def _blank(kind: types.Type) -> Any:
    """A value of `kind` that means nothing; the rules on the whole leave it alone."""
    match kind:
        case types.Metadata(type=inner):
            return _blank(inner)
        case types.StructType(cls=cls) if cls is Keys:
            return CLIENT_KEYS
        case types.StructType(cls=cls, fields=fields):
            return cls(**{one.name: _blank(one.type) for one in fields if one.default is NODEFAULT and one.required})
        case types.CustomType(cls=cls):
            return cls(0)
        case types.DictType():
            return {}
        case types.VarTupleType():
            return ()
        case types.LiteralType(values=values):
            return values[0]
        case types.UnionType():
            return None
        case types.IntType() | types.FloatType():
            return 0
        case types.BoolType():
            return False
    return ""
