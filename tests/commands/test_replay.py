"""``fusebox replay``: files in, report out, and the code it ends with."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import main
from proxy.commands import replay

POLICY = """
providers: {a: {base_url: "http://127.0.0.1:1/v1", keys: none}, b: {base_url: "http://127.0.0.1:2/v1", keys: none}}
models:
  a/big: {price: {input: 2, output: 10}}
  b/small: {price: {input: 1, output: 2}}
routes:
  - {name: cheap, match: {model: cheap}, to: [b/small]}
  - {name: all, match: {}, to: [a/big]}
"""


def line(number: int, **fields: Any) -> str:
    """One of a log."""
    made = {
        "request_id": f"r{number}",
        "method": "POST",
        "path": "/v1/chat/completions",
        "endpoint": "chat.completions",
        "format": "openai",
        "model": "cheap",
        "route": "all",
        "target": "a/big",
        "attempts": 1,
        "status": 200,
        "bytes_in": 4000,
        "total_ms": 1.0,
        "event": "request",
        "level": "info",
        "time": f"2026-11-20T12:00:0{number % 10}.000Z",
        **fields,
    }
    return json.dumps(made) + "\n"


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """A good policy's file."""
    file = tmp_path / "new.yaml"
    file.write_text(POLICY)
    return str(file)


def test_the_text(tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What it prints, to the letter."""
    log = tmp_path / "log"
    log.write_text(line(1) + line(2, model="m") + '{"event": "ready"}\nno JSON\n' + line(3))
    assert main(["replay", str(log), "--policy", policy]) == 0
    assert capsys.readouterr().out == (
        "3 requests in the log; 3 decided again.\n"
        "1 lines are about something else.\n"
        "1 lines cannot be read:\n"
        f"  {log}:4: JSON is malformed: invalid character (byte 4)\n"
        "\n"
        "route       before        after\n"
        "all              3            1\n"
        "cheap            0            2\n"
        "\n"
        "target        before        after\n"
        "a/big              3            1\n"
        "b/small            0            2\n"
        "\n"
        "2 requests change their route, 2 their target.\n"
        "            2  a/big → b/small\n"
        "\n"
        "Cost, of 3 answered requests: tokens of 0 as metered, of 3 estimated from the prompt alone (no answer, no cache).\n"
        "  before: $0.0060 for 3 requests; by the new file's prices, as --from was not given\n"
        "  after:  $0.0040 for 3 requests\n"
        "  the 3 requests with a price on both sides: $0.0060 before, $0.0040 after, 66.7% of before\n"
        "\n"
        "`after` counts the first target of each plan, as if every provider were well.\n"
    )


def test_several_logs_packed_and_from_standard_input(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gzip is known by its first bytes, whatever the file is called; JSON holds every number."""
    plain, packed = tmp_path / "one", tmp_path / "two.log"
    plain.write_text(line(1))
    packed.write_bytes(gzip.compress(line(2).encode()) + gzip.compress(line(3).encode()))
    packed_stdin = tmp_path / "stdin"
    packed_stdin.write_bytes(gzip.compress(line(4).encode()))
    stdin = packed_stdin.open()
    monkeypatch.setattr("sys.stdin", stdin)
    assert main(["replay", str(plain), str(packed), "-", "--policy", policy, "--output", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["log"] == {"requests": 4, "others": 0, "broken": 0, "examples": []}
    assert report["after"] == {"routes": {"cheap": 4, "all": 0}, "targets": {"b/small": 4}, "no_route": 0}
    assert report["never_hit"] == ["all"] and report["ratio"] == 0.5
    assert not stdin.buffer.closed
    stdin.close()


def test_a_window_of_time(tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ends; a moment needs its offset."""
    log = tmp_path / "log"
    log.write_text("".join(line(number) for number in range(6)))
    window = ["--since", "2026-11-20T12:00:02Z", "--until", "2026-11-20T13:00:04+01:00"]
    assert main(["replay", str(log), "--policy", policy, "--output", "json", *window]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["replayed"], report["outside"]) == (2, 4)
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(log), "--policy", policy, "--since", "2026-11-20"])
    assert ended.value.code == 2 and "RFC 3339" in capsys.readouterr().err


def test_the_policy_that_was_in_force(tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its prices hold for what was; it is said when it routes otherwise, and other classes are not taken for its own."""
    old = tmp_path / "old.yaml"
    old.write_text(POLICY.replace("input: 2", "input: 4") + "complexity: {simple_below: 0.3}\n")
    new = tmp_path / "newer.yaml"
    new.write_text(POLICY.replace("{model: cheap}", "{complexity: simple}"))
    log = tmp_path / "log"
    log.write_text(line(1, complexity="simple", prompt={}) + line(2, complexity="simple", complexity_stated=True))
    assert main(["replay", str(log), "--policy", str(new), "--from", str(old)]) == 0
    shown = capsys.readouterr().out
    assert "before: $0.0040 for 2 requests\n" in shown
    assert "1 requests cannot be told: the log lacks their complexity" in shown
    assert "2 requests were not routed as the policy given with --from" in shown


def test_a_built_in_provider_takes_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its address is known only while the proxy runs; it offers both formats all the same. No price is not free."""
    demo = tmp_path / "demo.yaml"
    demo.write_text("providers: {demo: {}}\nroutes: [{name: a, match: {}, to: [demo]}]\n")
    log = tmp_path / "log"
    log.write_text(line(1) + line(2, path="/v1/messages", endpoint="messages", format="anthropic"))
    assert main(["replay", str(log), "--policy", str(demo)]) == 0
    shown = capsys.readouterr().out
    assert "a                0            2\n" in shown and "(no route)" not in shown
    assert "  after:  not known, 2 requests unpriced\n" in shown and "$" not in shown


@pytest.mark.parametrize("text", ["", "nonsense\n", '{"event": "ready"}\n', line(1, endpoint="passthrough")])
def test_nothing_to_decide(text: str, tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """1, with the counts of what there was instead."""
    log = tmp_path / "log"
    log.write_text(text)
    assert main(["replay", str(log), "--policy", policy]) == 1
    captured = capsys.readouterr()
    assert "0 decided again" in captured.out and "no request in the log" in captured.err


@pytest.mark.parametrize("content", [None, gzip.compress(line(1).encode())[:-9], b"\x1f\x8bnonsense, not gzip"])
def test_a_log_that_cannot_be_read(
    content: bytes | None, tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """1, and why; no traceback."""
    log = tmp_path / "log.gz"
    if content is not None:
        log.write_bytes(content)
    assert main(["replay", str(log), "--policy", policy]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("fusebox: the log cannot be read") and captured.out == ""


@pytest.mark.parametrize("option", ["--policy", "--from"])
def test_a_bad_policy(option: str, tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    """64, with every problem, before the log is read."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("routes: 5\n")
    given = {"--policy": policy, option: str(bad)}
    arguments = [part for pair in given.items() for part in pair]
    assert main(["replay", str(tmp_path / "absent"), *arguments]) == 64
    captured = capsys.readouterr()
    assert captured.out == "" and "routes" in captured.err


def test_a_line_without_end(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is passed over in pieces, and counts as one broken line."""
    monkeypatch.setattr(replay, "LINE_MAX", 1000)
    log = tmp_path / "log"
    log.write_text(line(1) + '{"event": "request", "x": "' + "x" * 5000 + '"}\n' + line(2))
    assert main(["replay", str(log), "--policy", policy, "--output", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["log"]["requests"], report["log"]["broken"]) == (2, 1)
    assert report["log"]["examples"][0].startswith(f"{log}:2: ")
