"""AdmissionReview v1: what the API server sends, read; what it gets, written."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.kube.patch import Outcome
from proxy.kube.review import MESSAGE_MAX, REVIEW_MAX, WARNING_MAX, BadReview, Request, judge, read
from tests.kube.appliers import by_jsonpatch
from tests.kube.cases import SETTINGS, Case, all_cases

JSON_TYPE = "application/json"
POD = {"metadata": {"generateName": "shop-"}, "spec": {"containers": [{"name": "app", "image": "app"}]}}


def review(pod: Any = None, **request: Any) -> dict[str, Any]:
    """As the API server sends it (k8s.io/api/admission/v1)."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": []},
            "object": POD if pod is None else pod,
            "oldObject": None,
            "dryRun": False,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
            **request,
        },
    }


def asked(body: Any, content_type: str = JSON_TYPE) -> Request:
    """The request in a body."""
    return read(body if isinstance(body, bytes) else json.dumps(body).encode(), content_type)


def answered(body: dict[str, Any]) -> dict[str, Any]:
    """The whole answer, decoded."""
    whole: dict[str, Any] = json.loads(judge(asked(body), SETTINGS).body)
    return whole


def test_an_injection() -> None:
    """uid and version come back; the patch is base64 of JSON, and nothing stands in the status."""
    whole = answered(review())
    assert (whole["apiVersion"], whole["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response = whole["response"]
    assert response["uid"] == "705ab4f5-6393-11e8-b7cc-42010a800002" and response["allowed"] is True
    assert response["patchType"] == "JSONPatch" and "status" not in response and "warnings" not in response
    pod = by_jsonpatch(POD, json.loads(base64.b64decode(response["patch"], validate=True)))
    assert pod["spec"]["initContainers"][0]["name"] == "fusebox"


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_every_golden_pod(case: Case) -> None:
    """The answer carries what was decided, whatever it was."""
    namespace = case.expected.get("namespace", "shop")
    reviewed = judge(asked(review(case.pod, namespace=namespace)), case.settings)
    response = json.loads(reviewed.body)["response"]
    assert response["allowed"] is (case.expected["outcome"] != "denied")
    patch = json.loads(base64.b64decode(response["patch"])) if "patch" in response else None
    assert patch == case.expected.get("patch")
    assert response.get("warnings", []) == [one[:WARNING_MAX] for one in case.expected.get("warnings", [])]
    if not response["allowed"]:
        assert response["status"]["code"] == 403
        assert response["status"]["message"] == f"fusebox: {case.expected['because']}"
    assert response["auditAnnotations"]["outcome"].startswith(case.expected["outcome"])


def test_a_denial_is_short_enough_for_an_event() -> None:
    """However many annotations are wrong."""
    pod = {
        **POD,
        "metadata": {"annotations": {"llm-fusebox.dev/image": " " * 5000, "llm-fusebox.dev/port": "x" * 9000}},
    }
    message = answered(review(pod))["response"]["status"]["message"]
    assert len(message) <= MESSAGE_MAX and "..." in message


def test_warnings_are_short_and_few() -> None:
    """The API server cuts what is longer, and drops what is too much."""
    names = {f"llm-fusebox.dev/{'n' * 300}{index}": "" for index in range(100)}
    warnings = answered(review({**POD, "metadata": {"annotations": names}}))["response"]["warnings"]
    assert len(warnings) <= 20 and all(len(one) <= WARNING_MAX for one in warnings)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"operation": "UPDATE"}, "not_created"),
        ({"operation": "DELETE", "object": None}, "not_created"),
        ({"operation": "CONNECT"}, "not_created"),
        ({"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}, "not_a_pod"),
        ({"kind": {"group": "metrics.k8s.io", "version": "v1", "kind": "Pod"}}, "not_a_pod"),
        ({"subResource": "ephemeralcontainers"}, "not_a_pod"),
        ({"namespace": "kube-system"}, "system_namespace"),
    ],
)
def test_what_is_none_of_its_business_is_allowed(changed: dict[str, Any], reason: str) -> None:
    """A webhook configuration that sends too much stops nothing."""
    reviewed = judge(asked(review(**changed)), SETTINGS)
    assert reviewed.decision.outcome is Outcome.SKIPPED
    assert [one.code for one in reviewed.decision.reasons] == [reason]
    response = json.loads(reviewed.body)["response"]
    assert response["allowed"] is True and "patch" not in response


@pytest.mark.parametrize("pod", [None, 1, "pod", [], {}, {"spec": None}, {"spec": {"containers": "app"}}])
def test_what_is_no_pod_is_denied(pod: Any) -> None:
    """With a sentence that says where, and not with a fault."""
    response = json.loads(judge(asked(review(object=pod)), SETTINGS).body)["response"]
    assert response["allowed"] is False
    assert "not a pod that Kubernetes takes" in response["status"]["message"]


@pytest.mark.parametrize(
    ("meta", "owner"),
    [
        ({"generateName": "shop-"}, "Pod/shop-"),
        ({"name": "shop"}, "Pod/shop"),
        ({}, "Pod/"),
        ({"ownerReferences": [{"kind": "A", "name": "a"}, {"kind": "Job", "name": "b", "controller": True}]}, "Job/b"),
    ],
)
def test_whom_it_was_for(meta: dict[str, Any], owner: str) -> None:
    """A pod has no name at admission; its owner has one. The namespace is the request's."""
    reviewed = judge(asked(review({**POD, "metadata": meta}, dryRun=True)), SETTINGS)
    assert (reviewed.owner, reviewed.namespace, reviewed.dry_run) == (owner, "shop", True)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "not_json"),
        (b"{", 400, "not_json"),
        (b"\xff", 400, "not_json"),
        (b"[" * 100_000, 400, "not_json"),
        (b"null", 400, "not_a_review"),
        (b"[]", 400, "not_a_review"),
        (b"{}", 400, "not_a_review"),
        ({**review(), "kind": "Pod"}, 400, "not_a_review"),
        ({**review(), "apiVersion": "admission.k8s.io/v1beta1"}, 400, "not_a_review"),
        ({**review(), "request": None}, 400, "not_a_review"),
        (review(uid=7), 400, "not_a_review"),
        (review(kind=None), 400, "not_a_review"),
        (b" " * (REVIEW_MAX + 1), 413, "too_large"),
    ],
)
def test_what_is_no_review(body: Any, status: int, code: str) -> None:
    """Refused with a status of HTTP, a code for numbers and a sentence."""
    with pytest.raises(BadReview) as raised:
        asked(body)
    assert (raised.value.status, raised.value.code) == (status, code) and str(raised.value)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/yaml", "application/jsonx"])
def test_another_content_type(content_type: str) -> None:
    """The API server sends JSON; others did not mean this."""
    with pytest.raises(BadReview) as raised:
        asked(review(), content_type)
    assert raised.value.status == 415
    assert asked(review(), "Application/JSON; charset=utf-8").operation == "CREATE"


def test_the_largest_body() -> None:
    """At the limit it is read."""
    body = json.dumps(review()).encode()
    assert asked(body + b" " * (REVIEW_MAX - len(body))).uid == "705ab4f5-6393-11e8-b7cc-42010a800002"


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_any_object_gets_an_answer(value: Any) -> None:
    """Whatever stands where the pod should, there is an answer for the uid."""
    response = answered(review(object=value))["response"]
    assert response["uid"] and response["allowed"] in (True, False)
