"""The injector's server: an API server asks over TLS, the answer is a JSON Patch or a ruling, and a line in the log.

    TLS ──► path, method, type ──► body, bounded ──► AdmissionReview ──► review ──► answer
                 404 405 415          408 413 503           400          500 504

It knows no API server and has no rights in the cluster: what it answers follows from the question and its own settings. A
status other than 200 means that there was no admission; then the webhook configuration's ``failurePolicy`` decides.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from aiohttp import web

from proxy.kube.connections import Connections
from proxy.kube.patch import Outcome
from proxy.kube.review import REVIEW_MAX, BadReview, Request, Reviewed, read
from proxy.kube.webhook_metrics import Numbers
from proxy.observe.logs import Logger

SMALL = 64 * 1024
"""Bytes of a question that are always taken; a pod has about ten thousand. More must find room."""

ROOM = 32 * 1024 * 1024
"""Bytes that all the larger ones may hold together."""

READ_WITHIN_S = 5.0
"""How long a body may take: after five seconds the API server waits no more (``timeoutSeconds`` of the manifests)."""

ANSWER_WITHIN_S = 4.0
"""How long a review may take, unless the API server says a shorter time: an answer that comes too late is none."""

TEXT_MAX = 253
"""Characters of a name in the log: as many as a name may have in Kubernetes."""

DETAIL_MAX = 1000
"""Characters of a refusal in the log."""


Review = Callable[[Request], Reviewed]
"""Answers an admission. What it raises is a fault of ours."""


@dataclass(frozen=True, slots=True)
class Way:
    """A path of the server. `name`: of the review, for log and metrics; `review` answers, on a thread if it `takes_long`."""

    name: str
    review: Review
    takes_long: bool = False


class Webhook:
    """Answers admissions. `ways`: by path. `aside` runs a review that takes long and gives what it gave."""

    def __init__(
        self,
        ways: Mapping[str, Way],
        numbers: Numbers,
        logger: Logger,
        aside: Callable[[Callable[[], Reviewed]], Awaitable[Reviewed]],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._ways = ways
        self._numbers = numbers
        self._logger = logger
        self._aside = aside
        self._clock = clock
        self._held = 0
        self.connections = Connections(self.answer, numbers)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request, whatever it is. Raises ConnectionError when the client has gone."""
        try:
            way = self._way(request)
            body = await self._read(request)
            self.connections.has_read(request)
            began_s = self._clock()
            asked = read(body, request.content_type)
            reviewed = await self._review(way, asked, _within_s(request), began_s)
            return web.Response(body=reviewed.body, content_type="application/json")
        except BadReview as bad:
            self._numbers.refused[bad.status] += 1
            self._logger.debug("admission_refused", status=bad.status, reason=bad.code)
            answer = web.Response(status=bad.status, text=f"{bad}\n")
            if bad.status == 405:
                answer.headers["Allow"] = "POST"
            answer.force_close()  # what is left of the request is not read
            return answer

    def _way(self, request: web.BaseRequest) -> Way:
        """Raises BadReview, before anything of the body is read."""
        way = self._ways.get(request.path)
        if way is None:
            raise BadReview(404, "path", f"nothing here; POST an AdmissionReview to {' or '.join(self._ways)}")
        if request.method != "POST":
            raise BadReview(405, "method", "POST an AdmissionReview")
        if request.content_type != "application/json":
            raise BadReview(415, "content_type", "send an AdmissionReview as application/json")
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise BadReview(415, "content_encoding", "send it uncompressed")
        if (request.content_length or 0) > REVIEW_MAX:
            raise _too_large()
        return way

    async def _read(self, request: web.BaseRequest) -> bytes:
        """The body. Raises BadReview; ConnectionError when the client has gone."""
        body, held = bytearray(), 0
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                while chunk := await request.content.readany():
                    body += chunk
                    if len(body) > REVIEW_MAX:
                        raise _too_large()
                    if len(body) > SMALL:
                        self._held, held = self._held + len(body) - held, len(body)
                        if self._held > ROOM:
                            raise BadReview(503, "no_room", "too many large questions at once; ask again")
        except TimeoutError:
            raise BadReview(408, "slow", f"the body did not come within {READ_WITHIN_S:g} s") from None
        except web.RequestPayloadError:
            raise BadReview(400, "broken_body", "the body cannot be read") from None
        finally:
            self._held -= held
        if not body:
            raise BadReview(400, "empty", "the body is empty; send an AdmissionReview")
        return bytes(body)

    async def _review(self, way: Way, asked: Request, within_s: float, began_s: float) -> Reviewed:
        """The review's answer, logged and counted. Raises BadReview when there is none."""
        try:
            if not way.takes_long:
                reviewed = way.review(asked)
            else:
                async with asyncio.timeout(within_s):
                    reviewed = await self._aside(lambda: way.review(asked))
        except TimeoutError:
            self._record(way, asked, "error", "timeout", began_s)
            raise BadReview(504, "timeout", f"the review took longer than {within_s:g} s") from None
        except Exception as error:
            # The text of an error may quote the pod, and with it the values of its variables. Its kind and place do not.
            place = "".join(traceback.format_tb(error.__traceback__)[-3:])
            self._logger.error("admission_fault", review=way.name, kind=type(error).__name__, place=place)
            self._record(way, asked, "error", "fault", began_s)
            raise BadReview(500, "fault", "a fault of the injector's own; its log says more") from None
        decision = reviewed.decision
        reason = decision.reasons[0].code if decision.reasons else ""
        more: dict[str, Any] = {}
        if decision.outcome is Outcome.DENIED:
            more["detail"] = decision.because[:DETAIL_MAX]
        if decision.warnings:
            more["warnings"] = len(decision.warnings)
        self._record(way, asked, str(decision.outcome), reason, began_s, more)
        return reviewed

    def _record(
        self,
        way: Way,
        asked: Request,
        result: str,
        reason: str,
        began_s: float,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        took_s = self._clock() - began_s
        self._numbers.admitted(way.name, result, reason or "none", took_s)
        facts = {"review": way.name, "result": result, "reason": reason, **_about(asked), **more}
        facts["ms"] = round(took_s * 1000, 2)
        self._logger.line("error" if result == "error" else "info", "admission", facts)


def _too_large() -> BadReview:
    return BadReview(413, "too_large", f"an AdmissionReview has at most {REVIEW_MAX} bytes")


def _within_s(request: web.BaseRequest) -> float:
    """How long the review may take: API servers say in the query how long they wait, as in ``?timeout=5s``."""
    text = request.query.get("timeout", "").removesuffix("s")
    waits_s = int(text) if text.isdecimal() and len(text) < 4 else 0
    return min(ANSWER_WITHIN_S, waits_s * 0.8) if waits_s else ANSWER_WITHIN_S


def _about(asked: Request) -> dict[str, Any]:
    """Whom it was about. At admission a pod of a Deployment has no name yet: its owner and `generateName` say more."""
    metadata = _mapping(_mapping(asked.object).get("metadata"))
    owners = metadata.get("ownerReferences")
    told = [_mapping(one) for one in owners] if isinstance(owners, list) else []
    owner = next((one for one in told if one.get("controller") is True), told[0] if told else {})
    return {
        "uid": _short(asked.uid),
        "operation": _short(asked.operation),
        "namespace": _short(asked.namespace),
        "owner": "/".join(filter(None, (_short(owner.get("kind")), _short(owner.get("name"))))),
        "name": _short(asked.name) or _short(metadata.get("name")),
        "generate_name": _short(metadata.get("generateName")),
        "dry_run": bool(asked.dry_run),
    }


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _short(value: object) -> str:
    return value[:TEXT_MAX] if isinstance(value, str) else ""
