"""Random pods, with random wishes, through the injector."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.kube.annotations import READERS
from proxy.kube.patch import Outcome, decide
from proxy.kube.pointer import apply
from tests.kube.appliers import by_jsonpatch, same_form
from tests.kube.cases import SETTINGS
from tests.kube.pod_security import of_container
from tests.kube.rivals import KIND
from tests.kube.rules import broken
from tests.kube.schemas import NEWEST, invalid

P = "llm-fusebox.dev/"
NAMES = st.sampled_from(["app", "worker", "a", "b", "c-1", "web", "istio-proxy", "daprd", "log", "migrate", "fusebox"])
VARIABLES = [
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "HTTP_PROXY",
    "https_proxy",
    "NO_PROXY",
    "A",
    "B",
]
VALUES = st.sampled_from(["", "1", "http://127.0.0.1:4010/v1", "$(A)", "127.0.0.1,.svc", "é"])


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """It, or nothing at all."""
    return st.none() | strategy


ENTRIES = st.builds(
    lambda name, value, secret: (
        {"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
        if secret
        else {"name": name, "value": value}
    ),
    st.sampled_from(VARIABLES),
    VALUES,
    st.booleans(),
)
RESOURCES = st.sampled_from(
    [
        {},
        {"limits": {"cpu": "1", "memory": "1Gi"}},
        {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
        {"requests": {"cpu": "1"}},
    ]
)
CONTAINERS = st.fixed_dictionaries(
    {"name": NAMES, "image": st.just("app:1")},
    optional={
        "env": maybe(st.lists(ENTRIES, max_size=4, unique_by=lambda entry: str(entry["name"]))),
        "envFrom": st.just([{"secretRef": {"name": "s"}}]),
        "ports": st.sampled_from([8080, 8081, 9090, 80, 443, 4010]).map(lambda port: [{"containerPort": port}]),
        "resources": RESOURCES,
    },
)
WISHES: dict[str, st.SearchStrategy[str]] = {
    "env": st.sampled_from(["openai", "anthropic", "openai,anthropic", "none", "google"]),
    "env-containers": st.sampled_from(["all", "app", "app,log", "migrate"]),
    "env-override": st.sampled_from(["true", "false"]),
    "placeholder-key": st.sampled_from(["auto", "true", "false"]),
    "port": st.sampled_from(["4010", "5010", "0"]),
    "admin-port": st.sampled_from(["4011", "5011", "8080"]),
    "native-sidecar": st.sampled_from(["true", "false"]),
    "cpu-request": st.sampled_from(["10m", "1"]),
    "memory-limit": st.sampled_from(["128Mi", "1Gi", "64Mi"]),
    "drain-seconds": st.sampled_from(["0", "40"]),
    "image-pull-secret": st.sampled_from(["registry", "own"]),
    "log-level": st.sampled_from(["debug", "error"]),
    "nonsense": st.text(max_size=5),
}


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    """A pod that breaks no rule of the API server."""
    listed = draw(st.lists(CONTAINERS, min_size=1, max_size=5, unique_by=lambda one: str(one["name"])))
    cut = draw(st.integers(0, len(listed) - 1))
    spec: dict[str, Any] = {"initContainers": listed[:cut], "containers": listed[cut:]}
    if not cut and draw(st.booleans()):
        spec["initContainers"] = draw(st.sampled_from([None, []]))
    for container in spec["initContainers"] or ():
        if draw(st.booleans()):
            container["restartPolicy"] = "Always"
    extra: dict[str, st.SearchStrategy[Any]] = {
        "volumes": st.sampled_from([None, [], [{"name": "data", "emptyDir": {}}]]),
        "imagePullSecrets": st.sampled_from([None, [{"name": "own"}]]),
        "securityContext": st.sampled_from([None, {}, {"runAsUser": 0}, {"runAsUser": 1000}]),
        "hostNetwork": st.sampled_from([None, False, False, False, True]),
    }
    spec |= draw(st.fixed_dictionaries({}, optional=extra))
    meta: dict[str, Any] = {"name": "shop"}
    annotations = draw(maybe(st.fixed_dictionaries({}, optional=WISHES)))
    if annotations is not None:
        meta["annotations"] = {P + name: value for name, value in annotations.items()}
    labels = {
        P + "inject": st.sampled_from(["true", "false", "true"]),
        P + "injected": st.just("true"),
        "a": st.just("b"),
    }
    meta["labels"] = draw(maybe(st.fixed_dictionaries({}, optional=labels)))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def of_users(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers but ours, in order."""
    spec = pod["spec"]
    return [one for one in (*(spec.get("initContainers") or ()), *spec["containers"]) if one["name"] != "fusebox"]


@settings(max_examples=150, deadline=None)
@given(pods())
def test_an_injected_pod_is_as_good_as_it_was(pod: dict[str, Any]) -> None:
    """It breaks no rule, its own parts are as they were, and a second injection finds nothing to do."""
    decision = decide(pod, SETTINGS, namespace="shop")
    injected = apply(pod, decision.patch)
    assert (decision.outcome is Outcome.INJECTED) == bool(decision.patch)
    assert bool(decision.reasons) == (decision.outcome is not Outcome.INJECTED)
    assert injected == by_jsonpatch(pod, decision.patch)
    if decision.outcome is not Outcome.INJECTED:
        assert injected == pod
        return
    assert set(broken(injected)) <= set(broken(pod))
    assert invalid(same_form(injected), NEWEST) == []
    replaced = (
        set(VARIABLES[:4]) if (pod["metadata"].get("annotations") or {}).get(P + "env-override") == "true" else set()
    )
    for before, after in zip(of_users(pod), of_users(injected), strict=True):
        assert {**before, "env": None} == {**after, "env": None}
        old, new = before.get("env") or [], after.get("env") or []
        kept = new[len(new) - len(old) :]
        assert [one for one in kept if one["name"] not in replaced] == [
            one for one in old if one["name"] not in replaced
        ]
        assert len({one["name"] for one in new}) == len(new)
    again = decide(injected, SETTINGS, namespace="shop")
    assert (again.outcome, again.patch) == (Outcome.UNCHANGED, ())


@settings(max_examples=60, deadline=None)
@given(pods(), st.lists(st.sampled_from(KIND), max_size=3, unique=True))
def test_with_rivals_between(pod: dict[str, Any], rivals: list[Any]) -> None:
    """Others change the pod between two calls; the third has nothing to do, and our container is fit for "restricted"."""
    decision = decide(pod, SETTINGS, namespace="shop")
    if decision.outcome is not Outcome.INJECTED or (pod["metadata"].get("labels") or {}).get(P + "injected"):
        return
    pod = same_form(apply(pod, decision.patch))  # the API server sends no nulls
    for rival in rivals:
        pod = rival(pod)
    pod = apply(pod, decide(pod, SETTINGS, namespace="shop").patch)
    assert decide(pod, SETTINGS, namespace="shop").outcome is Outcome.UNCHANGED
    spec = pod["spec"]
    (ours,) = [one for one in (*(spec.get("initContainers") or ()), *spec["containers"]) if one["name"] == "fusebox"]
    assert list(of_container(ours, spec.get("securityContext") or {})) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["metadata", "spec", "containers", "initContainers", "name", "env", "labels", "annotations", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_anything_at_all_gets_a_decision(value: Any) -> None:
    """Whatever is sent, nothing is raised; what is no pod is denied."""
    decision = decide(value, SETTINGS)
    assert decision.outcome in (Outcome.DENIED, Outcome.SKIPPED, Outcome.INJECTED)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(READERS)), st.text(max_size=12))
def test_any_value_of_an_annotation_is_taken_or_told(name: str, text: str) -> None:
    """A value is good, or the pod is denied with the annotation's name."""
    pod = {
        "metadata": {"annotations": {P + name: text}},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    }
    decision = decide(pod, SETTINGS)
    if decision.outcome is Outcome.DENIED:
        assert P + name in decision.because
    else:
        injected = apply({"apiVersion": "v1", "kind": "Pod", **pod}, decision.patch)
        assert broken(injected) == [] and invalid(injected, NEWEST) == []
