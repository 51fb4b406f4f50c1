"""YAML text as a tree of nodes that know their place, built from the parser's events.

PyYAML's own ``compose`` recurses with the text's nesting, reads the whole text before it judges any of it and forgets
where duplicate keys stand. Taking the events one by one bounds depth and size while reading, whatever the text.
Sources: YAML 1.1, and for ``<<`` https://yaml.org/type/merge.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from proxy.config.problems import Problem, shown

MAX_DEPTH = 64
"""Deepest nesting of lists and mappings. A configuration needs 7; the parser's time grows with the square of it."""

MAX_NODES = 100_000
"""Most nodes in a file, and most that are walked when aliases repeat them. A file of 1,000 routes has about 20,000."""

Place = tuple[int, int]
"""Line and column, both from 1."""

LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = frozenset({"str", "int", "float", "bool", "null"})
# The complement of what YAML allows (section 5.1), lone surrogates included.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WIDE_INDENT = re.compile("^[ \t]*\xa0", re.MULTILINE)
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


@dataclass(slots=True)
class Node:
    """A value and where it begins."""

    place: Place


@dataclass(slots=True)
class Scalar(Node):
    """One value. `tag` is what YAML takes it for: str, int, float, bool, null, merge, timestamp, value."""

    text: str
    tag: str

    @property
    def empty(self) -> bool:
        """True when nothing at all is written, as after ``key:``."""
        return self.tag == "null" and not self.text


@dataclass(slots=True)
class Sequence(Node):
    """A list."""

    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping(Node):
    """A mapping as written: in order, duplicates and merges included."""

    pairs: list[tuple[Node, Node]] = field(default_factory=list)


class Unreadable(Exception):
    """The text cannot be read further; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def read_nodes(text: str) -> tuple[Node | None, list[Problem]]:
    """The tree of `text`, None when it holds no value, and the problems that did not stop the reading.

    Raises Unreadable with the first problem that did.
    """
    forbidden = _FORBIDDEN.search(text.removeprefix("\ufeff"))
    if forbidden is not None:
        index = forbidden.start() + text.startswith("\ufeff")
        message = f"character U+{ord(text[index]):04X} is not allowed in YAML"
        raise Unreadable(Problem(*_place_of(text, index), "", message, "remove it, or escape it in double quotes"))
    wide = _WIDE_INDENT.search(text)
    if wide is not None:
        # Copied from a web page or a chat. To YAML it is part of the key behind it, which leads to errors that say nothing.
        message = "a no-break space (U+00A0) in the indentation"
        raise Unreadable(Problem(*_place_of(text, wide.end() - 1), "", message, "indent with ordinary spaces"))
    builder = _Builder(text)
    return builder.build(), builder.problems


def _place_of(text: str, index: int) -> Place:
    breaks = list(_LINE_BREAK.finditer(text, 0, index))
    return len(breaks) + 1, index - (breaks[-1].end() if breaks else 0) + 1


class _Builder:
    """Takes events until the stream ends; `open` holds the collections not closed yet, outermost first."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.loader = LOADER(text)
        self.problems: list[Problem] = []
        self.open: list[Sequence | Mapping] = []
        self.keys: list[Node | None] = []  # for each open mapping the key that waits for its value
        self.anchors: dict[str, Node] = {}
        self.root: Node | None = None
        self.documents = 0
        self.count = 0

    def build(self) -> Node | None:
        try:
            while self.loader.check_event():
                self._take(self.loader.get_event())
        except yaml.MarkedYAMLError as error:
            raise Unreadable(_syntax_problem(error, self.text)) from None
        finally:
            self.loader.dispose()
        return self.root

    def _take(self, event: Any) -> None:
        place = (event.start_mark.line + 1, event.start_mark.column + 1)
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    self._stop(place, "a second document begins here", "keep one document in the file, without ---")
            case yaml.ScalarEvent():
                self._add(Scalar(place, event.value, self._tag_of(event, place)), event, place)
            case yaml.SequenceStartEvent():
                self._refuse_tag(event.tag, {"seq"}, place)
                self._enter(Sequence(place), event, place)
            case yaml.MappingStartEvent():
                self._refuse_tag(event.tag, {"map"}, place)
                self._enter(Mapping(place), event, place)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self.open.pop()
                self.keys.pop()
            case yaml.AliasEvent():
                self._alias(event.anchor or "", place)

    def _alias(self, name: str, place: Place) -> None:
        target = self.anchors.get(name)
        if target is None:
            said = f"an alias to YAML, as it begins with *, but no anchor &{shown(name)[1:-1]} stands before it"
            self._stop(place, said, "put text that begins with * in quotes, or define the anchor above")
        elif any(one is target for one in self.open):
            self._stop(place, "this alias stands inside the value it repeats", "write the value out")
        else:
            self._place_value(target)

    def _enter(self, node: Sequence | Mapping, event: Any, place: Place) -> None:
        if len(self.open) >= MAX_DEPTH:
            self._stop(place, f"nested more than {MAX_DEPTH} levels deep", "write it flatter")
        self._add(node, event, place)
        self.open.append(node)
        self.keys.append(None)

    def _add(self, node: Node, event: Any, place: Place) -> None:
        self.count += 1
        if self.count > MAX_NODES:
            self._stop(place, f"more than {MAX_NODES} values in one file", "make the file smaller")
        if event.anchor is not None:
            if event.anchor in self.anchors:
                self._stop(place, "this anchor's name is taken already", "give each anchor a name of its own")
            self.anchors[event.anchor] = node
        self._place_value(node)

    def _place_value(self, node: Node) -> None:
        if not self.open:
            self.root = node
            return
        match self.open[-1]:
            case Sequence(items=items):
                items.append(node)
            case Mapping(pairs=pairs):
                key = self.keys[-1]
                if key is None:
                    self.keys[-1] = node
                else:
                    pairs.append((key, node))
                    self.keys[-1] = None

    def _tag_of(self, event: Any, place: Place) -> str:
        if event.tag is None and event.implicit[0]:
            resolved: str = self.loader.resolve(yaml.ScalarNode, event.value, event.implicit)
            return resolved.removeprefix(_TAG)
        if event.tag in (None, "!"):
            return "str"
        return event.tag.removeprefix(_TAG) if self._refuse_tag(event.tag, _SCALAR_TAGS, place) else "str"

    def _refuse_tag(self, tag: str | None, allowed: set[str] | frozenset[str], place: Place) -> bool:
        """True when a tag of `allowed` is written; a problem is noted when another one is."""
        if tag is None or tag == "!":
            return False
        if tag.startswith(_TAG) and tag.removeprefix(_TAG) in allowed:
            return True
        short = f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag
        message = f"YAML tag {shown(short)} is refused: values here are plain text, numbers, lists and mappings"
        self.problems.append(Problem(*place, "", message, "take the tag out"))
        return False

    def _stop(self, place: Place, message: str, hint: str) -> None:
        raise Unreadable(Problem(*place, "", message, hint))


# What libyaml and PyYAML say → what we say, and what to do. The first part that fits decides.
_SYNTAX: tuple[tuple[str, str, str], ...] = (
    ("unexpected end of stream", "this quote is never closed", "close it"),
    ("unexpected document indicator", "this quote is not closed before --- or ...", "close it"),
    (
        "found character",
        "a character that cannot begin a value",
        "put the value in quotes; indent with spaces, not tabs",
    ),
    (
        "expected alphabetic or numeric character",
        "an alias or anchor without a name, to YAML",
        'put text that begins with * or & in quotes, as in "*"',
    ),
    ("tab character", "a tab in the indentation", "indent with spaces"),
    (
        "mapping values are not allowed",
        "a colon where no key can be",
        "indent it as the keys beside it; or put text that holds ': ' in quotes",
    ),
    (
        "block sequence entries are not allowed",
        "a list entry where none can be",
        "begin the list on a line of its own; use no tabs",
    ),
    ("expected ',' or ']'", "a list in [ ] is not closed or lacks a comma", "add the missing , or ]"),
    ("expected ',' or '}'", "a mapping in { } is not closed or lacks a comma", "add the missing , or }"),
    (
        "expected key",
        "this line fits neither what is above it nor a key of its own",
        "check the indentation and the quotes",
    ),
    ("expected <block end>", "this line does not fit what is above it", "check the indentation and the quotes"),
    (
        "expected '-' indicator",
        "this line does not fit the list above it",
        "begin it with '- ', or check the indentation",
    ),
    (
        "expected node content",
        "a value is missing, or a [ or { before is left open",
        "write the value, or the missing ] or }",
    ),
    ("undefined tag handle", "a YAML tag that is not known", "take the tag out, or quote a value that begins with !"),
    (
        "unknown escape character",
        "an escape that YAML does not know",
        "write \\\\ for a backslash, or use single quotes",
    ),
    ("expected <document start>", "text after the end of the document", "remove the ... line"),
    ("expected ':'", "a key without a colon", "write key: value, or take the line out"),
)


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> Problem:
    """`error` in words for the user. The parser's own words stand where we have none: fixed texts, in both parsers."""
    said = error.problem or error.context or "not YAML"
    mark = error.problem_mark or error.context_mark
    unknown = (f"not YAML ({said.splitlines()[0]})", "check the quotes and the indentation")
    message, hint = next(((ours, hint) for part, ours, hint in _SYNTAX if part in said), unknown)
    if "never closed" in message or "not closed" in message or "without a colon" in message:
        mark = error.context_mark or mark
    place = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    place, message, hint = _recognized(text, place, said) or (place, message, hint)
    # libyaml ends a text that has no last line break with one of its own, and may point behind that.
    return Problem(*min(place, _place_of(text, len(text))), "", message, hint)


def _recognized(text: str, place: Place, said: str) -> tuple[Place, str, str] | None:
    """What a look at the text itself says of the mistake: where it is, what, and what to do."""
    lines = _LINE_BREAK.split(text)
    for number, line in enumerate(lines, 1):
        if line.startswith(("<<<<<<< ", ">>>>>>> ")):
            hint = "keep one side, and take out the lines that begin with <<<<<<<, ======= and >>>>>>>"
            return (number, 1), "a merge conflict that was not resolved", hint
    line = lines[place[0] - 1] if place[0] <= len(lines) else ""
    at = line[place[1] - 1 : place[1]]
    if at == "\t" or line[: place[1]].lstrip(" ").startswith("\t"):
        return place, "a tab where YAML wants spaces", "indent with spaces"
    if at in ("}", "]") and any(part in said for part in ("expected key", "<block end>", "<document start>")):
        return place, f"this {at} closes nothing", "take it out, or open it before"
    above = lines[place[0] - 2] if place[0] > 1 else ""
    unspaced = re.match(r"\s*(- )?[\w-]+:(?=[^\s:/])", above)
    if "mapping values" in said and unspaced is not None and ": " not in above:
        return (place[0] - 1, unspaced.end()), "no space behind this colon", "write key: value"
    return None


def entries(node: Mapping, walk: Callable[[Node], None], depth: int = 0) -> Iterator[tuple[Node, Node, bool]]:
    """Pairs of `node` with what ``<<`` brings in after its own, and whether a pair was brought in.

    The caller takes the first pair of a key: own keys win, then earlier merges. `walk` is called with each mapping and
    each value met, so that the caller can stop merges that multiply. Raises Unreadable for a merge of what is no
    mapping, and when merges are nested more than `MAX_DEPTH` deep.
    """
    walk(node)
    merged: list[Node] = []
    for key, value in node.pairs:
        walk(value)
        if isinstance(key, Scalar) and key.tag == "merge":
            merged += value.items if isinstance(value, Sequence) else [value]
        else:
            yield key, value, depth > 0
    for source in merged:
        if not isinstance(source, Mapping) or depth >= MAX_DEPTH:
            what = "<< can only take in a mapping or a list of them" if depth < MAX_DEPTH else "<< nested too deep"
            raise Unreadable(Problem(*source.place, "", what, "write << with an alias of a mapping, as in <<: *base"))
        yield from entries(source, walk, depth + 1)
