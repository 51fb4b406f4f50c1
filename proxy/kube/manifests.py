"""Manifests as text, YAML or JSON: read, injected, and written again.

YAML is changed as a tree of nodes and not as values: every scalar that is not touched keeps its text and its quotes. Who
reads it, kubectl, follows other rules than PyYAML on what a bare ``1e3``, ``y`` or ``2026-01-01`` is; so neither is asked.
Comments are lost.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from proxy.kube.patch import Decision, Outcome
from proxy.kube.pointer import Operation, apply, parts_of
from proxy.kube.settings import Settings
from proxy.kube.workloads import Workload, inject, workloads

TEXT_MAX = 32 * 1024 * 1024
NODES_MAX = 300_000
"""Nodes of one document once every alias is written out; a few lines of YAML can stand for billions."""

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


class BadManifest(Exception):
    """Text that is no YAML and no JSON, or that holds too much; the text says where."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one workload."""

    workload: Workload
    decision: Decision


def read_all(text: str) -> list[Any]:
    """The documents' values. Raises BadManifest."""
    whole = _as_json(text)
    return [whole] if whole is not None else [_value(node) for node in _documents(text)]


def inject_text(text: str, settings: Settings) -> tuple[str, list[Result]]:
    """The text with the sidecar in every workload that may have it, and what became of each. Raises BadManifest."""
    whole = _as_json(text)
    if whole is not None:
        results = [Result(one, inject(one, settings)) for one in workloads(whole)]
        for result in results:
            whole = apply(whole, result.decision.patch)
        return json.dumps(whole, indent=2, ensure_ascii=False) + "\n", results
    nodes, results = _documents(text), []
    for node in nodes:
        for workload in workloads(_value(node)):
            decision = inject(workload, settings)
            results.append(Result(workload, decision))
            for operation in decision.patch:
                _apply(node, operation)
    if not any(result.decision.outcome is Outcome.INJECTED for result in results):
        return text, results
    return _written(nodes), results


def _as_json(text: str) -> Any:
    """The value of a JSON text, or None. Every JSON text is YAML, too; but it is to stay JSON."""
    if len(text) > TEXT_MAX:
        raise BadManifest(f"the text is longer than {TEXT_MAX // 1024**2} MiB")
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# YAML


class _Resolver:
    """Without timestamps: in a manifest, they are text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 as PyYAML has it
        first: [(tag, form) for tag, form in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Loader(_Resolver, yaml.SafeLoader):
    pass


class _Dumper(_Resolver, yaml.SafeDumper):
    pass


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """In quotes, but for what nobody could take for something else than text."""
    plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS
    style = None if plain else "|" if "\n" in text else "'" if '"' in text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _documents(text: str) -> list[yaml.Node]:
    """A node for each document, without aliases and merge keys; empty documents are left out."""
    try:
        found: list[yaml.Node | None] = list(yaml.compose_all(text, Loader=_Loader))
        return [_Own().of(node) for node in found if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise BadManifest(f"{where}{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise BadManifest(str(error)) from None
    except RecursionError:
        raise BadManifest("it is nested too deeply") from None


class _Own:
    """Copies nodes so that none stands in two places: a change in one would be a change in the other."""

    def __init__(self) -> None:
        self._left = NODES_MAX
        self._way: set[int] = set()
        self._loader = _Loader("")

    def of(self, node: yaml.Node) -> yaml.Node:
        """A copy of `node`. Raises BadManifest."""
        self._left -= 1
        if self._left < 0:
            raise BadManifest(f"a document has more than {NODES_MAX} parts")
        if isinstance(node, yaml.ScalarNode):
            return yaml.ScalarNode(node.tag, node.value, node.start_mark, node.end_mark, node.style)
        if id(node) in self._way:
            raise BadManifest(f"line {node.start_mark.line + 1}: an anchor holds an alias of itself")
        self._way.add(id(node))
        copy = self._collection(node)
        self._way.discard(id(node))
        return copy

    def _collection(self, node: yaml.Node) -> yaml.Node:
        if isinstance(node, yaml.SequenceNode):
            items = [self.of(one) for one in node.value]
            return yaml.SequenceNode(node.tag, items, node.start_mark, node.end_mark, node.flow_style)
        assert isinstance(node, yaml.MappingNode)
        pairs = yaml.MappingNode(node.tag, list(node.value), node.start_mark, node.end_mark, node.flow_style)
        self._loader.flatten_mapping(pairs)
        if len({key.value for key, _ in pairs.value if isinstance(key, yaml.ScalarNode)}) < len(pairs.value):
            pairs.value = _last_of_each(pairs.value)
        pairs.value = [(self.of(key), self.of(value)) for key, value in pairs.value]
        return pairs


def _last_of_each(pairs: list[tuple[yaml.Node, yaml.Node]]) -> list[tuple[yaml.Node, yaml.Node]]:
    """Pairs without those whose key comes again: what was merged in stands first, and what is written counts."""
    found: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
    for key, value in pairs:
        found[key.value if isinstance(key, yaml.ScalarNode) else id(key)] = (key, value)
    return list(found.values())


def _value(node: yaml.Node) -> Any:
    try:
        return _Loader("").construct_document(node)
    except (yaml.MarkedYAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None) or node.start_mark
        said = getattr(error, "problem", None) or str(error)
        raise BadManifest(f"line {mark.line + 1}, column {mark.column + 1}: {said}") from None


def _apply(root: yaml.Node, operation: Operation) -> None:
    """As `pointer.apply`, on nodes and in place."""
    *way, last = parts_of(operation["path"])
    place = root
    for part in way:
        place = place.value[int(part)] if isinstance(place, yaml.SequenceNode) else _entry(place, part)
    value = _node(operation["value"])
    if isinstance(place, yaml.SequenceNode):
        index = len(place.value) if last == "-" else int(last)
        if operation["op"] == "replace":
            place.value[index] = value
        else:
            place.value.insert(index, value)
        place.flow_style = False
        return
    assert isinstance(place, yaml.MappingNode)
    place.flow_style = False
    for index, (key, _) in enumerate(place.value):
        if key.value == last:
            place.value[index] = (key, value)
            return
    place.value.append((_node(last), value))


def _node(value: Any) -> yaml.Node:
    return _Dumper(io.StringIO(), sort_keys=False).represent_data(value)


def _entry(node: yaml.Node, name: str) -> yaml.Node:
    pairs: list[tuple[yaml.Node, yaml.Node]] = node.value
    return next(value for key, value in pairs if key.value == name)


def _written(nodes: list[yaml.Node]) -> str:
    texts: Iterator[str] = (yaml.serialize(node, Dumper=_Dumper, width=2**31, allow_unicode=True) for node in nodes)
    return "---\n".join(texts)
