"""The golden files of the injector: each pod, its patch, and the pod that comes out, by three programs that apply patches."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from proxy.kube.patch import Outcome
from proxy.kube.pointer import apply
from proxy.kube.settings import Settings
from tests.kube.appliers import by_jsonpatch, by_kubectl, kubectl, same_form
from tests.kube.cases import FOLDER, Case, all_cases, told
from tests.kube.pod_security import of_container, violations
from tests.kube.rules import broken
from tests.kube.schemas import VERSIONS, invalid

CASES = all_cases()
INJECTED = [case for case in CASES if case.decide().outcome is Outcome.INJECTED]
POD_RESOURCES_SINCE = 32


def named(case: Case) -> str:
    """Its id in pytest's output."""
    return case.name


def result(case: Case) -> dict[str, Any]:
    """The pod with the patch, as this project applies it."""
    injected: dict[str, Any] = apply(case.pod, case.decide().patch)
    return injected


@pytest.mark.parametrize("case", CASES, ids=named)
def test_what_becomes_of_it(case: Case) -> None:
    """Outcome, reasons, warnings and patch are those of the file, and so is the pod."""
    decision = case.decide()
    expected = {key: value for key, value in case.expected.items() if key not in ("settings", "namespace")}
    assert told(decision) == expected
    assert (result(case) if decision.patch else None) == case.injected


def test_there_are_enough() -> None:
    """Each outcome and each reason has its files; forty at least end in an injection. The comment says the situation."""
    outcomes = Counter(str(case.decide().outcome) for case in CASES)
    assert outcomes["injected"] >= 40 and set(outcomes) == {str(one) for one in Outcome}
    codes = {reason.code for case in CASES for reason in case.decide().reasons}
    assert codes == {
        "already",
        "bad_annotation",
        "bad_pod",
        "endless_job",
        "host_network",
        "mirror_pod",
        "not_linux",
        "opted_out",
        "own_sidecar",
        "port_clash",
        "system_namespace",
        "volume_clash",
    }
    assert all((FOLDER / f"{case.name}.yaml").read_text().startswith("# ") for case in CASES)


@pytest.mark.parametrize("case", INJECTED, ids=named)
def test_jsonpatch_makes_the_same_pod(case: Case) -> None:
    """Another implementation of RFC 6902 makes the same pod."""
    assert by_jsonpatch(case.pod, case.decide().patch) == case.injected


@pytest.fixture(scope="module")
def by_name(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What kubectl makes of each, all of them at once: it takes its time to start."""
    kubectl()
    folder = tmp_path_factory.mktemp("kubectl")

    def run(case: Case) -> Any:
        (own := folder / case.name).mkdir()
        return by_kubectl(case.pod, case.decide().patch, own)

    with ThreadPoolExecutor(4) as threads:
        return dict(zip((case.name for case in INJECTED), threads.map(run, INJECTED), strict=True))


@pytest.mark.parametrize("case", INJECTED, ids=named)
def test_kubectl_makes_the_same_pod(case: Case, by_name: dict[str, Any]) -> None:
    """So do Kubernetes' own types and the library that its API server patches with."""
    assert case.injected is not None
    expected, found = same_form(case.injected), same_form(by_name[case.name])
    if "resources" not in found["spec"]:
        expected["spec"].pop("resources", None)  # a field that kubectl of 1.31 and older do not know
    assert numbers_as_text(found) == numbers_as_text(expected)


def numbers_as_text(pod: Any) -> Any:
    """So that ``cpu: 1`` and ``cpu: "1"`` are the same, as they are to Kubernetes."""
    text = json.dumps(pod, sort_keys=True)
    return json.loads(text, parse_int=str, parse_float=str)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", INJECTED, ids=named)
def test_schemas(case: Case, version: str) -> None:
    """The pod is valid where it was before, by the strict schemas of three versions of Kubernetes."""
    pod = same_form(result(case))
    if "resources" in pod["spec"] and int(version.partition(".")[2]) < POD_RESOURCES_SINCE:
        del pod["spec"]["resources"]
    assert invalid(pod, version) == []


@pytest.mark.parametrize("case", INJECTED, ids=named)
def test_rules_of_the_api_server(case: Case) -> None:
    """The pod breaks none of the rules that no schema holds."""
    pod = result(case)
    if case.name != "restart_policy_stripped":
        assert broken(case.pod) == []
    assert broken(pod) == []


@pytest.mark.parametrize("case", INJECTED, ids=named)
def test_pod_security(case: Case) -> None:
    """A namespace that took the pod still does, and our container is never what stands in the way."""
    pod = result(case)
    before, after = violations(case.pod), violations(pod)
    assert [one for one in after if one not in before and not one.startswith("fusebox:")] == []
    ours = next(
        one for one in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]) if one["name"] == "fusebox"
    )
    if "securityContext" in ours:
        assert list(of_container(ours, pod["spec"].get("securityContext") or {})) == []


@pytest.mark.parametrize("case", INJECTED, ids=named)
def test_again(case: Case) -> None:
    """The pod with the patch in it gives no patch."""
    settings, namespace = case.settings, case.expected.get("namespace", "shop")
    again = Case(case.name, result(case), {**case.expected, "namespace": namespace}, None).decide()
    assert (again.outcome, again.patch) == (Outcome.UNCHANGED, ()) and isinstance(settings, Settings)


@pytest.mark.parametrize("case", INJECTED, ids=named)
def test_what_is_the_users_stays(case: Case) -> None:
    """But for variables and what is ours, the pod is as it was, in its order."""
    pod = result(case)
    for part in ("initContainers", "containers"):
        before = {one["name"]: one for one in case.pod["spec"].get(part) or () if one["name"] != "fusebox"}
        after = {one["name"]: one for one in pod["spec"].get(part) or () if one["name"] != "fusebox"}
        assert list(before) == list(after)
        for name, container in before.items():
            assert {**after[name], "env": None} == {**container, "env": None}
            kept = [entry["name"] for entry in container.get("env") or ()]
            now = [entry["name"] for entry in after[name].get("env") or ()]
            assert now[len(now) - len(kept) :] == kept
    ours = {"initContainers", "containers", "volumes", "imagePullSecrets"}
    assert {key: value for key, value in pod["spec"].items() if key not in ours} == {
        key: value for key, value in case.pod["spec"].items() if key not in ours
    }


def test_files_are_plain_yaml() -> None:
    """No anchors: a reader sees each pod whole."""
    for case in CASES:
        events = yaml.parse((FOLDER / f"{case.name}.yaml").read_text())
        assert not any(isinstance(event, yaml.AliasEvent) for event in events)
