"""The injector's server, asked over TLS: what is an admission, what is none, and clients that mean no good."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.kube import connections, webhook
from proxy.kube import injector as process
from proxy.kube.review import REVIEW_MAX, Request, Reviewed
from tests.kube.injecting import (
    HANG_S,
    HOST,
    SECRET_VALUE,
    MountedSecret,
    Running,
    answer,
    authority,
    close,
    head,
    injector,
    leaf,
    pod,
    question,
    trust,
)

CA = authority()
TRUST = trust(CA)
LEAF = leaf(CA)
QUESTION = json.dumps(question(pod())).encode()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """An injector with a certificate."""
    secret = MountedSecret(tmp_path / "tls")
    secret.put_pair(LEAF)
    async with injector(secret) as started:
        yield started


async def test_a_pod_gets_the_sidecar(running: Running) -> None:
    """The patch is for the pod that came, the answer for the question: one line in the log tells both."""
    told = await running.ask(TRUST, question(pod()), "/mutate?timeout=5s")
    assert told["uid"] == "705ab4f5-6393-11e8-b7cc-42010a800002" and told["allowed"] is True
    assert told["patchType"] == "JSONPatch"
    patch = json.loads(base64.b64decode(told["patch"]))
    assert any(one["path"].startswith("/spec/initContainers") for one in patch)
    (line,) = await running.logged("admission")
    assert line.pop("ms") >= 0 and line.pop("time")
    assert line == {
        "event": "admission",
        "level": "info",
        "review": "pod",
        "result": "injected",
        "reason": "",
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "operation": "CREATE",
        "namespace": "shop",
        "owner": "ReplicaSet/web-5d4",
        "name": "",
        "generate_name": "web-5d4-",
        "dry_run": False,
    }
    numbers = await running.numbers()
    assert numbers['fusebox_admissions_total{reason="none",result="injected",review="pod"}'] == 1
    assert numbers['fusebox_admission_seconds_count{review="pod"}'] == 1


@pytest.mark.parametrize(
    ("review", "result", "reason"),
    [
        (question(pod(labels={"llm-fusebox.dev/inject": "false"})), "skipped", "opted_out"),
        (question(pod(), namespace="kube-system"), "skipped", "system_namespace"),
        (question(None, operation="DELETE", oldObject=pod()), "skipped", "not_created"),
        (question(pod(), operation="UPDATE"), "skipped", "not_created"),
        (question({"kind": "Deployment"}), "skipped", "not_a_pod"),
        (question(pod(), subResource="eviction"), "skipped", "not_a_pod"),
        (question(pod(annotations={"llm-fusebox.dev/port": "many"})), "denied", "bad_annotation"),
        (question({"kind": "Pod", "spec": []}), "denied", "bad_pod"),
        (question(pod(), dryRun=True), "injected", ""),
    ],
)
async def test_what_becomes_of_a_question(running: Running, review: dict[str, Any], result: str, reason: str) -> None:
    """Allowed or denied, each with its reason in the log and in the numbers; a dry run is answered as the real thing."""
    told = await running.ask(TRUST, review)
    assert told["allowed"] is (result != "denied") and ("patch" in told) is (result == "injected")
    (line,) = await running.logged("admission")
    assert (line["result"], line["reason"]) == (result, reason)
    assert line["dry_run"] is bool(review["request"].get("dryRun"))
    if result == "denied":
        assert line["detail"] and line["detail"] in told["status"]["message"]
    series = f'fusebox_admissions_total{{reason="{reason or "none"}",result="{result}",review="pod"}}'
    assert (await running.numbers())[series] == 1


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (404, {"path": "/"}),
        (404, {"path": "/metrics"}),
        (405, {"method": "GET"}),
        (415, {"headers": {"Content-Type": "text/plain"}}),
        (415, {"headers": {"Content-Type": ""}}),
        (415, {"headers": {"Content-Encoding": "gzip"}}),
        (413, {"headers": {"Content-Length": str(REVIEW_MAX + 1)}}),
        (
            413,
            {"headers": {"Content-Length": "", "Transfer-Encoding": "chunked"}, "body": b"%x\r\n" % (REVIEW_MAX + 1)},
        ),
        (400, {"body": b""}),
        (400, {"body": b"{"}),
        (400, {"body": b"[1]"}),
        (400, {"body": b"\xff\xfe"}),
        (400, {"body": b"[" * 100_000}),
        (400, {"body": QUESTION.replace(b"admission.k8s.io/v1", b"admission.k8s.io/v1beta1")}),
        (400, {"body": b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}'}),
        (400, {"body": b'{"apiVersion": "admission.k8s.io/v1", "kind": "ConversionReview", "request": {}}'}),
        (400, {"headers": {"Content-Length": "many"}}),
    ],
)
async def test_what_is_no_admission(running: Running, status: int, asked: dict[str, Any]) -> None:
    """It gets a status and a sentence, counts, and the next question is answered."""
    body = asked.get("body", QUESTION)
    if status == 413 and "body" in asked:
        body += bytes(REVIEW_MAX + 1) + b"\r\n0\r\n\r\n"
    got, text = await running.post(
        TRUST, body, **{"path": "/mutate", **{k: v for k, v in asked.items() if k != "body"}}
    )
    assert got == status and text
    assert (await running.numbers())[f'fusebox_admission_requests_refused_total{{status="{status}"}}'] == 1
    assert (await running.ask(TRUST, question(pod())))["allowed"] is True


async def test_a_connection_is_kept(running: Running) -> None:
    """An API server asks again on the same connection."""
    async with asyncio.timeout(HANG_S):
        reader, writer = await running.connect(TRUST)
        for _ in range(3):
            writer.write(head(len(QUESTION)) + QUESTION)
            assert (await answer(reader))[0] == 200
        await close(writer)


async def test_fifty_at_once(running: Running) -> None:
    """A rollout of fifty pods: all are answered."""
    told = await asyncio.gather(*(running.ask(TRUST, question(pod(), uid=f"u{number}")) for number in range(50)))
    assert [(one["uid"], one["allowed"], "patch" in one) for one in told] == [(f"u{n}", True, True) for n in range(50)]
    assert len(await running.logged("admission", 50)) == 50


async def test_a_fault_of_ours_tells_nothing_of_the_pod(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """500, which is failurePolicy's case; in the log kind and place of the error, without its text."""

    def break_down(asked: Request, settings: object) -> Reviewed:
        raise ValueError(f"cannot handle {asked.object}")

    monkeypatch.setattr(process, "judge", break_down)
    status, text = await running.post(TRUST, QUESTION)
    assert status == 500 and SECRET_VALUE not in text.decode()
    (fault,) = await running.logged("admission_fault")
    assert fault["kind"] == "ValueError" and "break_down" in fault["place"]
    (line,) = await running.logged("admission")
    assert (line["result"], line["reason"], line["level"]) == ("error", "fault", "error")
    monkeypatch.undo()
    assert (await running.ask(TRUST, question(pod())))["allowed"] is True
    assert SECRET_VALUE not in json.dumps(running.lines)


async def test_a_review_that_takes_too_long(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods are injected while a policy is being proved; the policy's question ends in time, with 504."""
    began, over = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def prove(asked: Request, now_s: float) -> Reviewed:
        loop.call_soon_threadsafe(began.set)
        over.wait(HANG_S)
        raise RuntimeError

    monkeypatch.setattr(process, "judge_policy", prove)
    monkeypatch.setattr(webhook, "ANSWER_WITHIN_S", 0.3)
    slow = asyncio.create_task(running.post(TRUST, QUESTION, "/validate-policy?timeout=9s"))
    try:
        await began.wait()
        assert (await running.ask(TRUST, question(pod())))["allowed"] is True
        assert (await slow)[0] == 504
    finally:
        over.set()
    (line,) = [line for line in await running.logged("admission", 2) if line["review"] == "policy"]
    assert (line["result"], line["reason"]) == ("error", "timeout")


async def test_half_a_request_ends_by_itself(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a head, or nothing at all, is closed; half a body gets 408."""
    monkeypatch.setattr(connections, "FIRST_HEAD_S", 0.05)
    monkeypatch.setattr(webhook, "READ_WITHIN_S", 0.05)
    async with asyncio.timeout(HANG_S):
        for sent in (b"", head(100)[:-2]):
            reader, writer = await running.connect(TRUST)
            writer.write(sent)
            assert await reader.read() == b""
            await close(writer)
        reader, writer = await running.connect(TRUST)
        writer.write(head(100) + b"{")
        assert (await answer(reader))[0] == 408
        await close(writer)
    assert (await running.ask(TRUST, question(pod())))["allowed"] is True


async def test_idle_connections_make_room(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of connections, idle or with half a body, takes no place from who has something to ask."""
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 8)
    half = head(100) + b"{"
    async with asyncio.timeout(HANG_S):
        flood = []
        for number in range(24):
            _, writer = await running.connect(TRUST)
            writer.write(half if number % 2 else b"")
            flood.append(writer)
        for _ in range(4):
            assert (await running.ask(TRUST, question(pod())))["allowed"] is True
        numbers = await running.numbers()
        assert numbers["fusebox_webhook_connections"] <= 9
        assert numbers["fusebox_webhook_connections_closed_total"] >= 16
        await asyncio.gather(*map(close, flood))


async def test_large_questions_share_room(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that are not finished fill the room for large ones; small ones are answered all the same."""
    monkeypatch.setattr(webhook, "ROOM", 300_000)
    large = json.dumps(question(pod(annotations={"note": "x" * 100_000}))).encode()
    async with asyncio.timeout(HANG_S):
        _, writer = await running.connect(TRUST)
        writer.write(head(290_000) + bytes(280_000))
        await writer.drain()
        while (await running.post(TRUST, large))[0] != 503:
            pass  # until those bytes have been read
        assert (await running.ask(TRUST, question(pod())))["allowed"] is True
        await close(writer)
        while (await running.post(TRUST, large))[0] != 200:
            pass  # until the server has seen that they have gone


async def test_a_client_that_leaves_is_nobodys_fault(running: Running) -> None:
    """API servers give up after their timeout: that is no refusal, and no fault of ours."""
    async with asyncio.timeout(HANG_S):
        _, writer = await running.connect(TRUST)
        writer.write(head(len(QUESTION)) + QUESTION[:50])
        await writer.drain()
        assert (await running.ask(TRUST, question(pod())))["allowed"] is True
        await close(writer)
        while (await running.numbers())["fusebox_webhook_connections"] > 0:
            pass  # until the server has seen it
    numbers = await running.numbers()
    assert [name for name in numbers if name.startswith("fusebox_admission_requests_refused_total")] == []


async def test_garbage_does_not_stop_it(
    running: Running, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Bytes that are no TLS, handshakes cut short, and TLS with no HTTP in it: then a question is answered as ever."""

    async def plain(sent: bytes) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(sent)
        await close(writer)

    async def inside(sent: bytes) -> None:
        reader, writer = await running.connect(TRUST)
        writer.write(sent)
        try:
            await reader.read()
        except (OSError, ssl.SSLError):
            pass  # closed at once, with bytes of ours on the way
        await close(writer)

    hello = ssl.MemoryBIO()
    try:
        TRUST.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=HOST).do_handshake()
    except ssl.SSLWantReadError:
        pass  # the first message has been written
    first = hello.read()
    async with asyncio.timeout(HANG_S):
        await asyncio.gather(
            *(plain(one) for one in (b"", b"GET / HTTP/1.1\r\n\r\n", first[:50], first, os.urandom(5000)))
        )
        lines = b"A" * 20_000, b"\x00" * 100, b"POST /mutate HTTP/9\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n"
        many = b"POST /mutate HTTP/1.1\r\n" + b"x: y\r\n" * 3000 + b"\r\n"
        await asyncio.gather(*(inside(one) for one in (*lines, many, os.urandom(5000)) for _ in range(3)))
        assert (await running.ask(TRUST, question(pod())))["allowed"] is True
    assert caplog.records == [] and capfd.readouterr().err == ""


async def test_one_port_does_not_do_the_others_work(running: Running) -> None:
    """Health and metrics are on the admin port, admissions are not."""
    assert (await running.get("/mutate"))[0] == 404
    assert (await running.post(TRUST, b"", "/readyz", method="GET"))[0] == 404
    assert "fusebox_build_info" in (await running.get("/metrics"))[1]
