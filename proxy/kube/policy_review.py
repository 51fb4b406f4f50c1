"""May this ConfigMap hold a policy? Every YAML file in it is proved by the code behind ``fusebox check``.

Includes and candidate policies resolve among the ConfigMap's keys, which the sidecar finds as files of one folder. Whether
provider keys are there is not asked: they are where the sidecars run. What is said is what ``fusebox check`` says of the same
files, with the same places. Takes its time (a second for the largest ConfigMap), so it belongs on a thread.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from proxy.config.parse import Document
from proxy.config.present import ended
from proxy.config.problems import ConfigError, Problem, in_order, shown
from proxy.config.store import load_document
from proxy.kube.names import CONFIG_DIRECTORY, CONFIG_FILE, PREFIX
from proxy.kube.patch import Decision, Outcome, Reason
from proxy.kube.review import Request, Reviewed, answer

LABEL = f"{PREFIX}policy"
"""A ConfigMap with this label, value ``"true"``, holds a policy. Others are admitted as they are, even if they come here."""

BYTES_MAX = 1024 * 1024
"""Of all YAML files of one ConfigMap together: as much as Kubernetes lets it hold."""

FILES_MAX = 32
"""YAML files of one ConfigMap. A policy may include 16."""

TOLD_MAX = 10
"""Problems told of one ConfigMap, and warnings; who has more mends these first."""


def judge_policy(request: Request, now_s: float) -> Reviewed:
    """The answer to a request about a ConfigMap; `now_s`, in seconds since 1970, tells which routes have ended."""
    decision = decide_policy(request, now_s)
    return Reviewed(answer(request.uid, decision), decision, request.namespace, "", bool(request.dry_run))


def decide_policy(request: Request, now_s: float) -> Decision:
    """Denied with what is wrong, or unchanged: nothing is ever patched here. Skipped: it was not for us to prove."""
    found = request.object
    if (request.kind.group, request.kind.kind) != ("", "ConfigMap") or request.sub_resource:
        return _skipped("not_a_configmap", f"it is a {request.kind.kind}, and only ConfigMaps hold policies")
    if request.operation not in ("CREATE", "UPDATE") or not isinstance(found, dict):
        return _skipped("operation", "nothing is stored")
    metadata = _mapping(found, "metadata")
    if not _labelled(found):
        # The webhook's selector keeps them away. A configuration without it must not stop every ConfigMap of a cluster.
        return _skipped("unlabelled", f'it has no label {LABEL}: "true"')
    if metadata.get("deletionTimestamp") is not None:
        return _skipped("being_deleted", "it is being deleted")
    before = request.old_object
    if isinstance(before, dict) and _labelled(before) and _files(before) == _files(found):
        # A label, an owner: a policy that got in before must not stand in the way of that.
        return _skipped("same_policy", "its policy stays as it was")
    return _proved(_files(found), now_s)


def _skipped(code: str, text: str) -> Decision:
    return Decision(Outcome.SKIPPED, (Reason(code, text),))


def _denied(code: str, text: str, warnings: tuple[str, ...] = ()) -> Decision:
    return Decision(Outcome.DENIED, (Reason(code, text),), (), warnings)


def _proved(files: Mapping[str, Any], now_s: float) -> Decision:
    if len(files) > FILES_MAX:
        said = (
            f"the ConfigMap holds {len(files)} YAML files, where at most {FILES_MAX} are proved; use several ConfigMaps"
        )
        return _denied("too_large", said)
    try:
        contents = {key: _content(value) for key, value in files.items()}
    except (ValueError, TypeError):
        said = "the ConfigMap's data cannot be read: text belongs in data, base64 in binaryData"
        return _denied("unreadable", said)
    size = sum(map(len, contents.values()))
    if size > BYTES_MAX:
        said = f"the ConfigMap's YAML files have {size} bytes, where at most {BYTES_MAX} are proved; use several ConfigMaps"
        return _denied("too_large", said)
    problems = tuple(_problems(contents, now_s))
    errors = [one for one in problems if one.severity == "error"]
    missing = () if Path(CONFIG_FILE).name in contents else (_no_policy(contents),)
    warnings = (*missing, *(_line(one) for one in problems if one.severity == "warning"))[:TOLD_MAX]
    if not errors:
        return Decision(Outcome.UNCHANGED, (Reason("proved", "the policy is sound"),), (), warnings)
    lines = [_line(one) for one in errors[:TOLD_MAX]]
    if len(errors) > TOLD_MAX:
        lines.append(f"and {len(errors) - TOLD_MAX} more")
    count = f"{len(errors)} error{'s' if len(errors) > 1 else ''}"
    return _denied("broken", "\n".join([f"this policy would not be taken, it has {count}:", *lines]), warnings)


def _problems(contents: Mapping[str, bytes], now_s: float) -> Iterator[Problem]:
    """All that ``fusebox check`` would say of the files that stand for themselves, file by file."""
    # A policy may name its neighbours by their whole path, too.
    given = {path: raw for key, raw in contents.items() for path in (Path(key), Path(CONFIG_DIRECTORY, key))}
    keys = sorted(contents, key=lambda key: (key != Path(CONFIG_FILE).name, key))
    read = {key: _load(Path(key), given) for key in keys}
    parts = set[str]()
    for key in read:
        if key not in parts:
            parts |= _parts(key, read, contents)
    standing = [key for key in read if key not in parts]
    told = set[Problem]()
    for key in standing:
        for problem in _said(key, read[key], now_s):
            if problem not in told:  # a file that two others include is still one file
                told.add(problem)
                yield problem


def _parts(key: str, read: Mapping[str, Document | ConfigError], contents: Mapping[str, bytes]) -> set[str]:
    """The files that belong to the one called `key`, and need be no policies by themselves."""
    found = read[key]
    parts = {path.name for path in found.files} & contents.keys() - {key}
    if isinstance(found, ConfigError):
        # It may not have been understood as far as its includes. What it speaks of is not complained of beside it.
        parts |= {other for other in contents.keys() - {key} if other.encode() in contents[key]}
    return {part for part in parts if not _names(read[part], key)}


def _names(found: Document | ConfigError, key: str) -> bool:
    """Whether a file includes the one called `key`: of two that include each other both stand for themselves."""
    return any(path.name == key for path in found.files[1:])


def _load(path: Path, given: Mapping[Path, bytes]) -> Document | ConfigError:
    try:
        return load_document(path, given)
    except ConfigError as error:
        return error


def _said(key: str, found: Document | ConfigError, now_s: float) -> tuple[Problem, ...]:
    """As ``fusebox check`` has it, but for what may be missing outside the files."""
    if isinstance(found, ConfigError):
        return found.problems
    problems = [*found.warnings, *ended(found, now_s)]
    candidate = found.candidate
    if isinstance(candidate, ConfigError):
        problems += candidate.problems
    elif candidate is not None:
        problems += [*candidate.warnings, *ended(candidate, now_s)]
    return in_order(problems, key)


def _no_policy(contents: Mapping[str, bytes]) -> str:
    wanted, there = Path(CONFIG_FILE).name, ", ".join(shown(key) for key in sorted(contents)[:5])
    return f"no key {wanted}, which is what an injected sidecar reads; there is {there or 'no YAML'}"


def _line(problem: Problem) -> str:
    return f"{problem.file}:{problem.sentence()}"


def _labelled(found: Mapping[str, Any]) -> bool:
    return _mapping(_mapping(found, "metadata"), "labels").get(LABEL) == "true"


def _files(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the keys that end in .yaml hold, a text or, of ``binaryData``, its base64 as bytes."""
    files: dict[str, Any] = {key: value for key, value in _mapping(found, "data").items() if key.endswith(".yaml")}
    for key, value in _mapping(found, "binaryData").items():
        if key.endswith(".yaml"):
            files[key] = value.encode() if isinstance(value, str) else None
    return files


def _content(value: Any) -> bytes:
    """Raises ValueError, TypeError."""
    if isinstance(value, str):
        return value.encode()
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise ValueError from None


def _mapping(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name)
    return value if isinstance(value, dict) else {}
