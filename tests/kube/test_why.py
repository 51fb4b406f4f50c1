"""``fusebox k8s why``: the selection of the API server, and then the injector's own reasons."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.cli import main
from proxy.kube.selectors import BadSelector, misfits
from proxy.kube.webhooks import NAMESPACE_WEBHOOK, POD_WEBHOOK, configuration
from proxy.kube.why import NoWebhooks, explain, webhooks
from proxy.kube.workloads import workloads
from tests.kube.cases import SETTINGS
from tests.kube.schemas import VERSIONS, invalid

P = "llm-fusebox.dev/"
ON = {P + "injection": "enabled"}


def pod(labels: dict[str, str] | None = None, /, **spec: Any) -> dict[str, Any]:
    """A pod with these labels."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shop", "labels": {P + key: value for key, value in (labels or {}).items()}},
        "spec": {"containers": [{"name": "app", "image": "app"}], **spec},
    }


def answer(document: dict[str, Any], labels: dict[str, str] | None = None, namespace: str = "shop") -> Any:
    """What is said of the only workload in `document`."""
    (workload,) = workloads(document)
    return explain(workload, webhooks([configuration()]), SETTINGS, namespace, labels or {})


@pytest.mark.parametrize(
    ("selector", "labels", "fits"),
    [
        (None, {}, True),
        ({}, {"a": "1"}, True),
        ({"matchLabels": None, "matchExpressions": None}, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchLabels": {"a": "1"}}, {}, False),
        ({"matchLabels": {"a": "1", "b": "2"}}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
        ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}, {"a": "1"}, False),
    ],
)
def test_selectors(selector: Any, labels: dict[str, str], fits: bool) -> None:
    """As in k8s.io/apimachinery: all parts must fit, and an absent label fits NotIn."""
    assert (misfits(selector, labels) == []) is fits


@pytest.mark.parametrize(
    "selector",
    [
        [],
        {"matchLabel": {}},
        {"matchExpressions": [{"key": "a", "operator": "in", "values": ["1"]}]},
        {"matchExpressions": [{"key": "a", "operator": "In"}]},
        {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["1"]}]},
        {"matchExpressions": [{"operator": "Exists"}]},
    ],
)
def test_what_is_no_selector(selector: Any) -> None:
    """The API server would refuse it."""
    with pytest.raises(BadSelector):
        misfits(selector, {"a": "1"})


def test_the_configuration_is_valid() -> None:
    """By the strict schemas, and without what an API server would fill in differently."""
    for version in VERSIONS:
        assert invalid(configuration(), version) == []


@pytest.mark.parametrize(
    ("inject", "injection", "namespace"),
    list(
        itertools.product(
            [None, "true", "false", "yes"], [None, "enabled", "disabled"], ["shop", "kube-system", "fusebox-system"]
        )
    ),
)
def test_at_most_one_webhook_is_asked(inject: str | None, injection: str | None, namespace: str) -> None:
    """Who asked gets the sidecar; nobody in a system namespace does; the two webhooks are disjoint."""
    found = answer(
        pod({"inject": inject} if inject else {}), {P + "injection": injection} if injection else {}, namespace
    )
    asked = [one.webhook for one in found.selections if not one.misfits]
    expected = []
    if namespace == "shop" and inject == "true":
        expected = [POD_WEBHOOK]
    elif namespace == "shop" and injection == "enabled" and inject in (None, "yes"):
        expected = [NAMESPACE_WEBHOOK]
    assert asked == expected
    assert found.injected is (bool(expected) and inject != "yes"), "what is neither true nor false is refused aloud"


def test_the_namespace_is_that_of_the_request() -> None:
    """Given, or the manifest's, or `default`; its name is a label of it whatever labels are given."""
    document = pod({"inject": "true"})
    document["metadata"]["namespace"] = "kube-system"
    assert answer(document, namespace="").namespace == "kube-system"
    assert not answer(document, namespace="").injected and answer(document, namespace="shop").injected
    assert answer(pod(), namespace="").namespace == "default"
    spoofed = answer(pod({"inject": "true"}), {"kubernetes.io/metadata.name": "shop"}, "kube-system")
    assert not spoofed.selected


@pytest.mark.parametrize(
    ("document", "labels", "hint"),
    [
        (
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "shop", "labels": {P + "inject": "true"}},
                "spec": {"template": {"spec": {"containers": [{"name": "app"}]}}},
            },
            {},
            "write it under spec.template.metadata.labels",
        ),
        ({**pod(), "metadata": {"annotations": {P + "inject": "true"}}}, {}, "is an annotation of the pod"),
        (pod({"injection": "enabled"}), {}, "is a label of namespaces"),
        (pod(), {P + "inject": "true"}, "the namespace has the label llm-fusebox.dev/inject, which is one of pods"),
        (pod(), {P + "injection": "true"}, 'only "enabled" counts'),
    ],
)
def test_what_was_probably_meant(document: dict[str, Any], labels: dict[str, str], hint: str) -> None:
    """The usual mistakes (istio#9002, istio#51327) are told as such."""
    found = answer(document, labels)
    assert not found.injected and len(found.hints) == 1 and hint in found.hints[0]


def test_rules_and_conditions_of_other_configurations() -> None:
    """Rules that leave pods out are a reason; CEL cannot be told from here, which is said."""
    document = configuration()
    document["webhooks"][0]["rules"][0]["operations"] = ["UPDATE"]
    document["webhooks"][1]["matchConditions"] = [{"name": "x", "expression": "true"}]
    document["webhooks"].append({"name": "other.example"})
    (workload,) = workloads(pod({"inject": "true"}))
    hooks = webhooks([{"kind": "Service"}, None, {"apiVersion": "v1", "kind": "List", "items": [document, 1]}])
    first, second = explain(workload, hooks, SETTINGS, "shop", ON).selections
    assert first.misfits == ("its rules do not name the creation of pods",)
    assert "CEL" in second.unknown[0]
    document["webhooks"][0]["rules"] = [
        {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    ]
    assert explain(workload, webhooks([document]), SETTINGS, "shop", {}).selected


@pytest.mark.parametrize(
    "documents",
    [[], [{}], [{**configuration(), "webhooks": None}], [{**configuration(), "webhooks": [1]}]],
)
def test_no_webhooks(documents: list[Any]) -> None:
    """There is nothing to evaluate, and that is told."""
    with pytest.raises(NoWebhooks):
        webhooks(documents)


# The command


def why(tmp_path: Path, document: Any, *arguments: str) -> int:
    """Run it on a document."""
    file = tmp_path / "app.yaml"
    file.write_text(yaml.safe_dump(document))
    return main(["k8s", "why", "-f", str(file), *arguments])


def test_it_gets_the_sidecar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0, and which webhook."""
    assert why(tmp_path, pod(), "-n", "shop", "--namespace-labels", f"a=b,{P}injection=enabled") == 0
    assert capsys.readouterr().out == (
        "pod/shop in namespace shop gets the sidecar\n"
        "  webhook pod.llm-fusebox.dev: is not asked\n"
        '    its objectSelector wants llm-fusebox.dev/inject = "true"; there is no such label\n'
        "  webhook ns.llm-fusebox.dev: is asked\n"
        "  the injector, then: injects; variables for app: OPENAI_BASE_URL, OPENAI_API_KEY\n"
    )


def test_it_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1; selection and the injector's own reasons are both told."""
    assert why(tmp_path, pod({"inject": "true"}, hostNetwork=True), "-n", "kube-system") == 1
    shown = capsys.readouterr().out
    assert shown.startswith("pod/shop in namespace kube-system does not get the sidecar\n")
    assert "its namespaceSelector wants kubernetes.io/metadata.name not in (kube-system" in shown
    assert "the injector, if it were asked: skips: namespace kube-system is left out; the pod has hostNetwork" in shown


def test_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1, with the text that would stand in the event."""
    assert why(tmp_path, pod({"inject": "yes"}), "--namespace-labels", f"{P}injection=enabled") == 1
    shown = capsys.readouterr().out
    assert shown.startswith("pod/shop in namespace default is refused\n")
    assert 'the injector, then: refuses: label llm-fusebox.dev/inject: \'yes\': write "true" or "false"' in shown


def test_rendered_manifests_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The configuration in a file is evaluated in place of the built-in one."""
    changed = configuration()
    changed["webhooks"][0]["objectSelector"] = {"matchLabels": {"team": "search"}}
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(yaml.safe_dump_all([{"kind": "Namespace", "apiVersion": "v1"}, changed]))
    assert why(tmp_path, pod({"inject": "true"}), "--webhooks", str(rendered)) == 1
    assert 'its objectSelector wants team = "search"; there is no such label' in capsys.readouterr().out


def test_what_cannot_be_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1, with the file's name."""
    empty = tmp_path / "empty.yaml"
    empty.write_text("kind: Service\n")
    assert why(tmp_path, pod(), "--webhooks", str(empty)) == 1
    assert f"fusebox: {empty}: there is no MutatingWebhookConfiguration" in capsys.readouterr().err
    assert why(tmp_path, {"kind": "Service"}) == 1
    assert "app.yaml: it holds no workload\n" in capsys.readouterr().err
    assert main(["k8s", "why", "-f", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_bad_labels_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """2, and how to write them."""
    with pytest.raises(SystemExit) as ended:
        main(["k8s", "why", "-f", "x", "--namespace-labels", "enabled"])
    assert ended.value.code == 2
    assert "'enabled' is no label: write KEY=VALUE, with commas between them" in capsys.readouterr().err
