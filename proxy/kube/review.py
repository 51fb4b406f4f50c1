"""AdmissionReview (admission.k8s.io/v1): what the API server asks of a webhook, and the answer. The server is elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from proxy.kube.patch import Decision, Outcome, Reason, decide
from proxy.kube.pods import BadPod
from proxy.kube.pods import read as read_pod
from proxy.kube.settings import Settings

REVIEW_MAX = 8 * 1024 * 1024
"""Bytes. The API server takes objects of up to 3 MiB, and a review may hold an old and a new one."""

MESSAGE_MAX = 4000
"""Characters of a refusal; it ends up in an event, which is short, too."""

WARNING_MAX = 256
"""Characters of one warning, as the API server would cut it."""

API_VERSION, KIND = "admission.k8s.io/v1", "AdmissionReview"


class BadReview(Exception):
    """Not an AdmissionReview. `status`: of the HTTP answer. `code`: one of few, for numbers."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class GroupKind(msgspec.Struct, frozen=True):
    """What kind of object it is; the core group is empty."""

    kind: str
    version: str = ""
    group: str = ""


class Request(msgspec.Struct, frozen=True, rename="camel"):
    """``request`` of a review, as far as it is read. `object` is None for a DELETE, `old_object` for a CREATE."""

    uid: str
    kind: GroupKind
    operation: str
    object: Any = None
    old_object: Any = None
    namespace: str = ""
    name: str = ""
    sub_resource: str = ""
    dry_run: bool | None = None


class _Review(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class Reviewed:
    """`body`: the answer, JSON. The rest is for log and numbers."""

    body: bytes
    decision: Decision
    namespace: str
    owner: str
    dry_run: bool


def read(body: bytes, content_type: str) -> Request:
    """The request in a review. Raises BadReview."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise BadReview(415, "content_type", "an AdmissionReview is sent as application/json")
    if len(body) > REVIEW_MAX:
        raise BadReview(413, "too_large", f"an AdmissionReview has at most {REVIEW_MAX} bytes")
    try:
        # orjson refuses deep nesting by itself; msgspec would build the same objects.
        review = msgspec.convert(orjson.loads(body), _Review)
    except orjson.JSONDecodeError as error:
        raise BadReview(400, "not_json", f"the body is not JSON: {error.msg}") from None
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadReview(400, "not_a_review", f"the body is not an AdmissionReview: {error}") from None
    if review.kind != KIND or review.api_version != API_VERSION:
        raise BadReview(
            400, "not_a_review", f"the body is not an {KIND} of {API_VERSION}, the only one that is spoken here"
        )
    if review.request is None:
        raise BadReview(400, "not_a_review", "the AdmissionReview holds no request")
    return review.request


def judge(request: Request, settings: Settings) -> Reviewed:
    """The answer of the injector to a request; whatever is not a pod being made is allowed as it is."""
    kind = request.kind
    owner = ""
    if (kind.group, kind.kind) != ("", "Pod") or request.sub_resource:
        decision = Decision(Outcome.SKIPPED, (Reason("not_a_pod", f"it is a {kind.kind}, and only pods are injected"),))
    elif request.operation != "CREATE":
        decision = Decision(
            Outcome.SKIPPED, (Reason("not_created", "the pod is there already: it cannot be injected"),)
        )
    else:
        decision = decide(request.object, settings, namespace=request.namespace)
        try:
            owner = read_pod(request.object).owner
        except BadPod:
            owner = f"Pod/{request.name}"
    return Reviewed(answer(request.uid, decision), decision, request.namespace, owner, bool(request.dry_run))


def answer(uid: str, decision: Decision) -> bytes:
    """The review that says what `decision` says, as JSON."""
    return orjson.dumps(answer_value(uid, decision))


def answer_value(uid: str, decision: Decision) -> dict[str, Any]:
    """The same as a value."""
    response: dict[str, Any] = {"uid": uid, "allowed": decision.outcome is not Outcome.DENIED}
    if decision.outcome is Outcome.DENIED:
        # Forbidden and 403: the status appears in the events of whoever makes the pod.
        message = _cut(f"fusebox: {decision.because}", MESSAGE_MAX)
        response["status"] = {"code": 403, "reason": "Forbidden", "message": message}
    elif decision.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(orjson.dumps(decision.patch)).decode()
    if decision.warnings:
        response["warnings"] = _warnings(decision.warnings)
    codes = ",".join(dict.fromkeys(reason.code for reason in decision.reasons))
    response["auditAnnotations"] = {"outcome": f"{decision.outcome}: {codes}" if codes else str(decision.outcome)}
    return {"apiVersion": API_VERSION, "kind": KIND, "response": response}


def _warnings(warnings: Iterable[str]) -> list[str]:
    return [_cut(one, WARNING_MAX) for one in warnings]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
