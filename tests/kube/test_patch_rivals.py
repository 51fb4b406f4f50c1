"""Other webhooks change the same pods, before and after, and set each other off again."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest

from proxy.kube.patch import Outcome, decide
from proxy.kube.pointer import apply
from tests.kube.cases import SETTINGS
from tests.kube.rivals import KIND, Rival, forgets_restart_policy, istio_native, linkerd_native, log_shipper
from tests.kube.rules import broken
from tests.kube.schemas import NEWEST, invalid

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "shop", "labels": {"llm-fusebox.dev/inject": "true"}},
    "spec": {
        "initContainers": [{"name": "migrate", "image": "migrate:1"}],
        "containers": [
            {"name": "app", "image": "app:1", "env": [{"name": "A", "value": "1"}]},
            {"name": "worker", "image": "worker:1"},
        ],
    },
}


def title(rivals: Rival | tuple[Rival, ...]) -> str:
    """Their names."""
    return "-".join(one.__name__ for one in (rivals if isinstance(rivals, tuple) else (rivals,)))


def ours(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod after our webhook."""
    decision = decide(pod, SETTINGS, namespace="shop")
    assert decision.outcome in (Outcome.INJECTED, Outcome.UNCHANGED), decision
    injected: dict[str, Any] = apply(pod, decision.patch)
    return injected


def admit(pod: dict[str, Any], *webhooks: Rival) -> dict[str, Any]:
    """As the API server: each once, in order; then each once more that was not the last to change the pod."""
    pod = copy.deepcopy(pod)
    for webhook in (*webhooks, *webhooks):
        pod = webhook(pod)
    return pod


def check(pod: dict[str, Any]) -> None:
    """What holds whoever else was there."""
    assert broken(pod) == [] and invalid(pod, NEWEST) == []
    inits = [one["name"] for one in pod["spec"]["initContainers"]]
    assert inits.count("fusebox") == 1
    assert inits.index("fusebox") < inits.index("migrate"), "init containers of the app can use the sidecar"
    for container in (*pod["spec"]["containers"], *pod["spec"]["initContainers"]):
        urls = [one for one in container.get("env", ()) if one["name"] == "OPENAI_BASE_URL"]
        expected = 1 if container["name"] in ("app", "worker", "migrate", "log-shipper") else 0
        assert len(urls) == expected or container["name"] == "otel-agent", container["name"]
    again = decide(pod, SETTINGS, namespace="shop")
    assert (again.outcome, again.patch) == (Outcome.UNCHANGED, ())


@pytest.mark.parametrize("rival", KIND, ids=title)
def test_a_rival_before(rival: Rival) -> None:
    """The pod comes with another sidecar."""
    check(admit(POD, rival, ours))


@pytest.mark.parametrize("rival", KIND, ids=title)
def test_a_rival_after(rival: Rival) -> None:
    """The pod gets another sidecar after ours."""
    check(admit(POD, ours, rival))


@pytest.mark.parametrize("rivals", list(itertools.permutations(KIND, 2)), ids=title)
def test_between_two_rivals(rivals: tuple[Rival, Rival]) -> None:
    """One before, one after; ours comes second and is called again."""
    before, after = rivals
    check(admit(POD, before, ours, after))


@pytest.mark.parametrize("rival", KIND, ids=title)
def test_nothing_of_a_rival_is_changed(rival: Rival) -> None:
    """What another webhook added stays as it added it, but for variables in containers of the user's own kind."""
    before = rival(copy.deepcopy(POD))
    after = ours(before)
    others = {"istio-proxy", "istio-init", "linkerd-proxy", "linkerd-init", "daprd"}
    for part in ("initContainers", "containers"):
        kept = [one for one in after["spec"][part] if one["name"] in others]
        assert kept == [one for one in before["spec"][part] if one["name"] in others]
        assert [one["name"] for one in after["spec"][part] if one["name"] != "fusebox"] == [
            one["name"] for one in before["spec"][part]
        ]


def test_a_container_that_came_later_gets_its_variables_and_nothing_else_changes() -> None:
    """The second call patches one container, though every index has moved."""
    first = ours(POD)
    decision = decide(log_shipper(first), SETTINGS, namespace="shop")
    assert [one["path"].rpartition("/")[0] for one in decision.patch] == [
        "/metadata/annotations",
        "/spec/containers/0",
        "/spec/containers/0/env",
        "/spec/containers/0/env",
    ]
    assert decision.env == {"log-shipper": ("OPENAI_BASE_URL", "OPENAI_API_KEY")}
    check(apply(log_shipper(first), decision.patch))


def test_init_containers_before_the_sidecar_get_nothing() -> None:
    """A mesh that puts itself before ours: its init container has no sidecar to talk to."""
    pod = admit(POD, ours, linkerd_native)
    names = [one["name"] for one in pod["spec"]["initContainers"]]
    assert names == ["linkerd-init", "linkerd-proxy", "fusebox", "migrate"]
    early = {"name": "early", "image": "early:1"}
    pod["spec"]["initContainers"].insert(0, early)
    assert decide(pod, SETTINGS).patch == ()


def test_ours_stands_before_a_mesh_that_was_there() -> None:
    """Its rules for packets do not hold yet when our startup probe is asked; ours needs no network to be ready."""
    for mesh in (istio_native, linkerd_native):
        assert admit(POD, mesh, ours)["spec"]["initContainers"][0]["name"] == "fusebox"


def test_a_rival_that_forgets_restart_policy() -> None:
    """It is put back when our webhook is called again; where it is not, the API server refuses the pod aloud."""
    stripped = forgets_restart_policy(ours(POD))
    assert any("startupProbe without restartPolicy" in one for one in broken(stripped))
    decision = decide(stripped, SETTINGS)
    assert decision.warnings == ("another webhook took restartPolicy from the sidecar; it is put back",)
    check(apply(stripped, decision.patch))
