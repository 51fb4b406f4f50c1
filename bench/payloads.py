"""The bytes of the load: what every client sends and every upstream answers, the same for all subjects.

The time an event was made is the text of its delta (19 digits, nanoseconds of the system's monotonic clock, which all
processes share), so it survives proxies that parse an event and write it anew.
"""

from __future__ import annotations

import hashlib
import json
import re

PATH = "/v1/chat/completions"
MODEL_ASKED = "demo-model"
MODEL_SENT = "other-model"
CLIENT_KEY = "sk-" + hashlib.sha256(b"bench").hexdigest()
"""What every client sends as its key, as real ones do. It guards nothing; LiteLLM does not start without one."""
STAMP_DIGITS = 19
STAMPED = re.compile(rb'"content":\s?"(\d{19})')

_PROSE = (
    "A fuse is a sacrificial link: it gives way first, so that the wires behind the wall do not. Its value lies in "
    "failing early, in failing alone, and in telling whoever opens the box which circuit it was that drew too much. "
)


def request_body(stream: bool, size: int = 500) -> bytes:
    """A chat completion request of `size` bytes or a few more; the length is made up with prose in the prompt."""
    messages = [{"role": "system", "content": "Answer in one sentence."}, {"role": "user", "content": ""}]
    body = {"model": MODEL_ASKED, "stream": stream, "temperature": 0.2, "max_tokens": 256, "messages": messages}
    missing = max(0, size - len(json.dumps(body)))
    messages[1]["content"] = (_PROSE * (missing // len(_PROSE) + 1))[:missing]
    return json.dumps(body).encode()


def answer_body(size: int = 800) -> bytes:
    """An unstreamed chat completion of `size` bytes, free of what ends or expands a quoted string of nginx."""
    message = {"role": "assistant", "content": ""}
    answer = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1750000000,
        "model": MODEL_SENT,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 97, "completion_tokens": 118, "total_tokens": 215},
    }
    missing = max(0, size - len(json.dumps(answer)))
    message["content"] = (_PROSE * (missing // len(_PROSE) + 1))[:missing]
    return json.dumps(answer).encode()


def _event(delta: str, finish: str) -> bytes:
    text = (
        f'{{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1750000000,"model":"{MODEL_SENT}",'
        f'"choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}'
    )
    return b"data: " + text.encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    """`data` as one chunk of the chunked coding (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


EVENT_HEAD, EVENT_TAIL = _chunk(_event('{"content":"' + "#" * STAMP_DIGITS + ' token"}', "null")).split(
    b"#" * STAMP_DIGITS
)


def stamped_event(now_ns: int) -> bytes:
    """One chunk that holds one event made at `now_ns` (monotonic nanoseconds)."""
    return b"%b%019d%b" % (EVENT_HEAD, now_ns, EVENT_TAIL)


STREAM_END = _chunk(_event("{}", '"stop"')) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def answer_response() -> bytes:
    """`answer_body` with the head of its response."""
    body = answer_body()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def stream_request(port: int) -> bytes:
    """The request that opens a stream at a server on loopback `port`, head and body."""
    body = request_body(stream=True)
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {CLIENT_KEY}\r\nAccept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
