"""A broken policy in a ConfigMap is refused with the words and places of ``fusebox check``; a sound one is admitted."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.cli import main
from proxy.kube.injector import VALIDATE_POLICY
from proxy.kube.patch import Decision, Outcome
from proxy.kube.policy_review import BYTES_MAX, FILES_MAX, TOLD_MAX, decide_policy
from proxy.kube.review import Request
from tests.kube.injecting import MountedSecret, authority, injector, leaf, question, trust

NOW_S = 1_790_000_000.0
GOOD = "providers: {near: {base_url: 'http://h/v1', keys: none}}\nroutes: [{name: all, match: {}, to: [near]}]\n"
PROVIDERS = "providers: {near: {base_url: 'http://h/v1', keys: none}}\n"
ROUTES = "routes: [{name: all, match: {}, to: [near]}]\n"
LABELLED = {"labels": {"llm-fusebox.dev/policy": "true"}, "name": "fusebox-policy"}

BROKEN: dict[str, dict[str, str]] = {
    "a duration without its unit": {"config.yaml": GOOD + "drain: 5\n"},
    "no YAML": {"config.yaml": GOOD + "drain: {\n"},
    "a tab": {"config.yaml": GOOD + "breaker:\n\tmode: enforce\n"},
    "a provider by a wrong name": {"config.yaml": GOOD.replace("[near]", "[naer]")},
    "several at once": {"config.yaml": GOOD.replace("[near]", "[naer, far/x]") + "drain: 5\nbreakers: {}\n"},
    "an unknown key": {"config.yaml": GOOD + "brekaer: {mode: shadow}\n"},
    "nothing": {"config.yaml": ""},
    "an include that is not there": {"config.yaml": "include: [routes.yaml]\n" + PROVIDERS},
    "an include outside of the ConfigMap": {"config.yaml": "include: [../keys/routes.yaml]\n" + PROVIDERS},
    "an error in an include": {
        "config.yaml": "include: [routes.yaml]\n" + PROVIDERS,
        "routes.yaml": ROUTES.replace("to:", "too:"),
    },
    "an include that is no YAML": {"config.yaml": "include: [routes.yaml]\n" + PROVIDERS, "routes.yaml": "routes: [\n"},
    "a broken candidate": {"config.yaml": GOOD + "shadow: next.yaml\n", "next.yaml": "routes: [{name: all}]\n"},
    "no YAML before its includes are known": {
        "config.yaml": "include: [routes.yaml]\n}" + PROVIDERS,
        "routes.yaml": ROUTES,
    },
    "letters beyond ASCII before it": {"config.yaml": GOOD + "# für süße Köche\nlög: 1\n"},
}

SOUND: dict[str, dict[str, str]] = {
    "plain": {"config.yaml": GOOD},
    "a byte order mark": {"config.yaml": "\ufeff" + GOOD},
    "keys that only pods have": {
        "config.yaml": GOOD.replace("keys: none", "keys: [{env: ONLY_IN_PODS}, {file: /var/run/fusebox/keys/near}]")
    },
    "a CA that only pods have": {
        "config.yaml": GOOD.replace("http:", "https:").replace("keys:", "ca: /etc/only/in/pods, keys:")
    },
    "an include": {"config.yaml": "include: [routes.yaml]\n" + PROVIDERS, "routes.yaml": ROUTES},
    "an include by its place in the pod": {
        "config.yaml": "include: [/etc/fusebox/routes.yaml]\n" + PROVIDERS,
        "routes.yaml": ROUTES,
    },
    "a candidate": {"config.yaml": GOOD + "shadow: next.yaml\n", "next.yaml": ROUTES},
    "another file beside it": {"config.yaml": GOOD, "README.md": "providers: [\n", "notes.yml": "{"},
    "two policies": {"config.yaml": GOOD, "other.yaml": GOOD},
}


def review(data: Any, **more: Any) -> dict[str, Any]:
    """The question about a ConfigMap with a policy."""
    found = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": LABELLED, "data": data, **more.pop("object", {})}
    return question(found, **more)


def decide(data: Any, **more: Any) -> Decision:
    """What becomes of it."""
    return decide_policy(msgspec.convert(review(data, **more)["request"], Request), NOW_S)


def checked(files: Mapping[str, str], folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The problems that ``fusebox check config.yaml`` prints of the same files."""
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    main(["check", "config.yaml"])
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if not line.startswith(("config.yaml: fine", "config.yaml: usable"))]


@pytest.mark.parametrize("name", BROKEN)
def test_refused_as_check_refuses(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Line for line, file, line and column included: nothing more, nothing less."""
    monkeypatch.chdir(tmp_path)
    decision = decide(BROKEN[name])
    assert (decision.outcome, [one.code for one in decision.reasons]) == (Outcome.DENIED, ["broken"])
    said, *lines = decision.because.splitlines()
    printed = checked(BROKEN[name], tmp_path, capsys)
    assert [*lines, *decision.warnings] == printed and lines
    assert said == f"this policy would not be taken, it has {len(lines)} error{'s' if len(lines) > 1 else ''}:"
    assert all(part.isdecimal() for part in lines[0].split(":")[1:3])


@pytest.mark.parametrize("name", SOUND)
def test_admitted(name: str) -> None:
    """What is only there in pods is no reason against it."""
    decision = decide(SOUND[name])
    assert (decision.outcome, decision.reasons[0].code, decision.warnings) == (Outcome.UNCHANGED, "proved", ())


def test_warnings_are_those_of_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A policy that works, though hardly as meant: kubectl shows why."""
    monkeypatch.chdir(tmp_path)
    files = {"config.yaml": GOOD.replace("[near]", "[near, near/x]")}
    decision = decide(files)
    assert decision.outcome is Outcome.UNCHANGED
    assert list(decision.warnings) == checked(files, tmp_path, capsys) and len(decision.warnings) == 1


def test_a_route_that_has_ended() -> None:
    """By the clock of the injector."""
    ended = GOOD.replace("name: all,", "name: all, until: 2026-01-01T00:00:00Z,")
    (warning,) = decide({"config.yaml": ended}).warnings
    assert warning.startswith("config.yaml:2:") and "this route has ended" in warning


def test_what_a_sidecar_would_not_find() -> None:
    """Without the key that an injected sidecar reads there is a warning; a policy by another name may still be meant."""
    (warning,) = decide({"policy.yaml": GOOD}).warnings
    assert "no key config.yaml" in warning and "'policy.yaml'" in warning
    assert "no YAML" in decide({"config.yml": GOOD}).warnings[0]
    assert "no YAML" in decide(None).warnings[0]


def test_files_that_include_each_other_do_not_hide() -> None:
    """Each would be excused as a part of the other."""
    decision = decide({"a.yaml": "include: [b.yaml]\n" + GOOD, "b.yaml": "include: [a.yaml]\n" + ROUTES})
    assert decision.outcome is Outcome.DENIED and "b.yaml:1:1: include" in decision.because


def test_binary_data() -> None:
    """kubelets mount it like the rest."""
    good, bad = (base64.b64encode(text).decode() for text in (GOOD.encode(), GOOD.encode() + b"log: {level: \xff}\n"))
    assert decide(None, object={"binaryData": {"config.yaml": good}}).reasons[0].code == "proved"
    decision = decide(None, object={"binaryData": {"config.yaml": bad}})
    assert "config.yaml:3:14: the file is not UTF-8 text" in decision.because
    for wrong in ("%", 5, None):
        assert decide(None, object={"binaryData": {"config.yaml": wrong}}).reasons[0].code == "unreadable"
    assert decide({"config.yaml": 5}).reasons[0].code == "unreadable"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"operation": "DELETE", "object": None}, "operation"),
        ({"operation": "CONNECT"}, "operation"),
        ({"kind": {"group": "", "version": "v1", "kind": "Secret"}}, "not_a_configmap"),
        ({"kind": {"group": "x.dev", "version": "v1", "kind": "ConfigMap"}}, "not_a_configmap"),
        ({"metadata": {}}, "unlabelled"),
        ({"metadata": {"labels": {"llm-fusebox.dev/policy": "false"}}}, "unlabelled"),
        ({"metadata": {**LABELLED, "deletionTimestamp": "2026-01-01T00:00:00Z"}}, "being_deleted"),
        ({"operation": "UPDATE", "oldObject": {"metadata": LABELLED, "data": {"config.yaml": "{"}}}, "same_policy"),
    ],
)
def test_what_is_not_ours_to_prove(more: dict[str, Any], code: str) -> None:
    """A webhook configuration that shows too much must not stop a cluster, nor a policy the end of its own ConfigMap."""
    asked = review({"config.yaml": "{"})["request"]
    if "metadata" in more:
        asked["object"]["metadata"] = more["metadata"]
    else:
        asked.update(more)
    decision = decide_policy(msgspec.convert(asked, Request), NOW_S)
    assert (decision.outcome, decision.reasons[0].code) == (Outcome.SKIPPED, code)


def test_an_update_is_proved() -> None:
    """If its policy changes, or if the label is what is new."""
    old = {"metadata": LABELLED, "data": {"config.yaml": GOOD}}
    assert decide({"config.yaml": "{"}, operation="UPDATE", oldObject=old).outcome is Outcome.DENIED
    unlabelled = {"metadata": {}, "data": {"config.yaml": "{"}}
    assert decide({"config.yaml": "{"}, operation="UPDATE", oldObject=unlabelled).outcome is Outcome.DENIED


def test_bounds() -> None:
    """Size and number of files, and of what is said about them."""
    assert decide({"config.yaml": GOOD + "#" * BYTES_MAX}).reasons[0].code == "too_large"
    assert decide({f"{number}.yaml": GOOD for number in range(FILES_MAX + 1)}).reasons[0].code == "too_large"
    many = decide({"config.yaml": GOOD + "".join(f"wrong{number}: 1\n" for number in range(500))})
    lines = many.because.splitlines()
    assert len(lines) == TOLD_MAX + 2 and lines[-1] == f"and {500 - TOLD_MAX} more"


def test_a_key_in_the_wrong_place_is_not_told() -> None:
    """The refusal ends up in terminals and in CI logs."""
    key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
    decision = decide({"config.yaml": GOOD.replace("keys: none", f"keys: {key}")})
    assert decision.outcome is Outcome.DENIED and key not in decision.because


async def test_over_the_wire(tmp_path: Path) -> None:
    """What the user of kubectl sees is the message; a good one passes; the log says which ConfigMap it was."""
    ca = authority()
    secret = MountedSecret(tmp_path / "tls")
    secret.put_pair(leaf(ca))
    async with injector(secret) as running:
        asked = review(BROKEN["a duration without its unit"], name="fusebox-policy")
        told = await running.ask(trust(ca), asked, VALIDATE_POLICY)
        assert told["allowed"] is False and told["status"]["code"] == 403
        assert "\nconfig.yaml:3:8: drain: '5' has no unit. Write 5s for seconds" in told["status"]["message"]
        warned = review({"config.yaml": GOOD.replace("[near]", "[near, near/x]")})
        told = await running.ask(trust(ca), warned, VALIDATE_POLICY)
        assert told["allowed"] is True and "patch" not in told
        (warning,) = told["warnings"]
        assert warning.startswith("config.yaml:2:33: warning: ") and len(warning) <= 256
        lines = await running.logged("admission", 2)
        assert [(one["review"], one["name"], one["result"]) for one in lines] == [
            ("policy", "fusebox-policy", "denied"),
            ("policy", "fusebox-policy", "unchanged"),
        ]
        numbers = await running.numbers()
        assert numbers['fusebox_admissions_total{reason="broken",result="denied",review="policy"}'] == 1
        assert json.dumps(BROKEN) not in json.dumps(running.lines)
