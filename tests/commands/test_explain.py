"""``fusebox explain``: what it prints, what it reads, and the code it ends with."""

from __future__ import annotations

import io
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.cli import main

CONFIG = """
providers:
  openai: {keys: [{env: NOBODY_SET_THIS}]}
  anthropic: {keys: [{env: NOBODY_SET_THIS_EITHER}]}
  deepseek: {}
models:
  deepseek/deepseek-chat: {context: 1000, price: {input: 0.28, output: 0.42}}
routes:
  - {name: simple, match: {model: auto, complexity: simple}, to: [deepseek/deepseek-chat, openai/gpt-5.4-mini]}
  - {name: team, match: {model: "gpt-5*", header: {x-team: search}}, to: [openai/gpt-5.4, anthropic/claude-sonnet-4-5]}
  - name: auto
    match: {model: auto}
    to: [{openai/gpt-5.4: 90, openai/gpt-5.5: 10}, deepseek/deepseek-chat]
  - {name: pictures, match: {images: true, model: "llama*"}, to: [deepseek]}
  - {name: claude, match: {format: anthropic}, to: [anthropic]}
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(CONFIG)


def run(*options: str) -> int:
    """The command by that configuration; its exit code."""
    return main(["explain", "--config", "config.yaml", *options])


def told(capsys: pytest.CaptureFixture[str], *options: str, code: int = 0) -> Any:
    """The explanation."""
    assert run(*options, "--output", "json") == code
    shown = capsys.readouterr()
    assert shown.err == ""
    return json.loads(shown.out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said of a wrong usage."""
    with pytest.raises(SystemExit) as ended:
        main(["explain", *arguments])
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "usage: fusebox explain" in shown.err
    return shown.err.rpartition("error: ")[2].strip()


@pytest.mark.parametrize(
    ("options", "route", "target"),
    [
        (["--model", "auto", "--prompt", "Translate: good morning"], "simple", "deepseek/deepseek-chat"),
        (["--model", "auto", "--prompt", "hi", "--complexity", "complex"], "auto", "openai/gpt-5.4"),
        (["--model", "auto", "--header", "X-Fusebox-Complexity=complex"], "auto", "openai/gpt-5.4"),
        (["--model", "auto", "--complexity", "complex", "--roll", "0.95"], "auto", "openai/gpt-5.5"),
        (["--model", "auto", "--complexity", "simple", "--tokens", "1001"], "simple", "openai/gpt-5.4-mini"),
        (["--model", "auto", "--prompt", "hi", "--down", "deepseek"], "simple", "openai/gpt-5.4-mini"),
        (["--model", "auto", "--prompt", "hi", "--full", "deepseek"], "simple", "openai/gpt-5.4-mini"),
        (["--model", "auto", "--prompt", "hi", "--cooling", "deepseek/other"], "simple", "deepseek/deepseek-chat"),
        (["--model", "gpt-5.4", "--header", "x-team=search"], "team", "openai/gpt-5.4"),
        (["--model", "llama3", "--images"], "pictures", "deepseek/llama3"),
        (["--model", "claude-x", "--format", "anthropic"], "claude", "anthropic/claude-x"),
        (["--model", "claude-x", "--path", "/v1/messages"], "claude", "anthropic/claude-x"),
    ],
)
def test_where_it_goes(options: list[str], route: str, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As the options say what the request holds and what is the matter with the providers."""
    story = told(capsys, *options)
    assert (story["route"], story["target"], story["error"]) == (route, target, None)


def test_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    """For somebody at a terminal: what, why, and what comes next."""
    assert run("--model", "auto", "--prompt", "Translate: good morning", "--down", "deepseek") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "POST /v1/chat/completions: chat.completions, openai format, model auto, not streamed"
    for wanted in (
        "=> openai/gpt-5.4-mini, by route simple",
        "   1. simple  takes the request",
        "      not reached: team, auto, pictures, claude",
        "   1. deepseek/deepseek-chat  left out: its circuit is open (assumed: --down deepseek)",
        "   2. openai/gpt-5.4-mini     asked first",
    ):
        assert wanted in lines
    assert any(line.startswith("Complexity: simple: score 0.") for line in lines)


def test_the_features_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    """The score is the sum of what the features add, each from 0 to 1."""
    prompt = "Prove that the sum of two odd numbers is even, and write a Python function `f(x)` that checks it."
    classed = told(capsys, "--model", "auto", "--prompt", prompt, "--tools")["complexity"]
    assert classed["score"] == pytest.approx(sum(classed["parts"].values()))
    assert set(classed["parts"]) == set(classed["features"]) and classed["features"]["tools"] > 0
    assert all(0 <= value <= 1 for value in classed["features"].values()) and classed["why"]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--model", "gpt-4"], 404, "no route takes model 'gpt-4' at /v1/chat/completions: add a route"),
        (
            ["--model", "auto", "--path", "/chat/completions"],
            404,
            "no such path /chat/completions: calls are under /v1/",
        ),
        (["--model", "claude", "--format", "anthropic", "--down", "anthropic"], 503, "no target of route 'claude'"),
    ],
)
def test_nobody_would_be_asked(options: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """1, and what the client would get."""
    error = told(capsys, *options, code=1)["error"]
    assert error["status"] == status and error["message"].startswith(said)
    assert run(*options) == 1
    assert "=> nobody is asked" in (shown := capsys.readouterr().out) and said in shown


def test_why_no_route_takes_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Each route's own reason."""
    story = told(capsys, "--model", "gpt-4", code=1)
    assert [[one["sentence"] for one in route["mismatches"]] for route in story["routes"]] == [
        ["model: wants auto, the request has gpt-4"],
        ["model: wants gpt-5*, the request has gpt-4", "header.x-team: wants search, the request has none"],
        ["model: wants auto, the request has gpt-4"],
        ["model: wants llama*, the request has gpt-4"],
        ["format: wants anthropic, the request is openai"],
    ]


BODY = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "stream": True}


@pytest.mark.parametrize("whole", [False, True])
def test_a_saved_request(whole: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A body alone, or the whole; from a file or standard input."""
    text = json.dumps({"path": "/v1/chat/completions", "headers": {"X-Team": "a"}, "body": BODY} if whole else BODY)
    Path("saved.json").write_text(text)
    story = told(capsys, "--request", "saved.json")
    assert (story["route"], story["request"]["stream"], story["prompt"]["turns"]) == ("simple", True, 1)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert told(capsys, "--request", "-")["route"] == "simple"
    over = told(capsys, "--request", "saved.json", "--model", "gpt-5", "--header", "x-team=search")
    assert (over["route"], over["request"]["model"]) == ("team", "gpt-5")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--down", "opnai"], "--down: there is no provider 'opnai': did you mean openai?"),
        (["--full", "openai/gpt-5"], "--full: 'openai/gpt-5' is not what is wanted here: write PROVIDER"),
        (["--request", "absent.json"], "--request absent.json: it cannot be read: No such file or directory"),
        (["--request", "config.yaml"], "the saved request is not a JSON object"),
        (
            ["--format", "openai", "--path", "/v1/messages"],
            "/v1/messages is a call of the anthropic format, not of openai",
        ),
        (["--at", "noon"], "argument --at: 'noon' is not a moment (RFC 3339)"),
        (["--roll", "1"], "argument --roll: '1' is no number from 0 up to, but not with, 1"),
        (["--roll", "nan"], "argument --roll: 'nan'"),
        (["--tokens", "many"], "argument --tokens: 'many' is no number of tokens"),
        (["--header", "x-team"], "argument --header: 'x-team' has no =: write NAME=VALUE"),
        (["--header", "a b=c"], "argument --header: 'a b' is not a header name"),
        (["--complexity", "hard"], "argument --complexity: invalid choice: 'hard'"),
        (["--live", "http://127.0.0.1:1"], "argument --live: not allowed with argument --config"),
    ],
)
def test_mistakes(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """2, and what to write instead."""
    assert refused(capsys, "--config", "config.yaml", *options).startswith(said)


def test_neither_file_nor_process(capsys: pytest.CaptureFixture[str]) -> None:
    """One of the two is needed."""
    assert "one of the arguments --config --live is required" in refused(capsys, "--model", "m")


def test_a_bad_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """64, with every problem, as `serve` says it."""
    Path("config.yaml").write_text("providers: {openai: {kees: none}}\nroutes: [{name: a, match: {}, to: [nobody]}]\n")
    assert run("--model", "m") == 64
    shown = capsys.readouterr()
    assert shown.out == "" and "kees" in shown.err and "nobody" in shown.err
    assert main(["explain", "--config", "absent.yaml"]) == 64


def test_a_time_boxed_route(capsys: pytest.CaptureFixture[str]) -> None:
    """By the moment that is asked for."""
    until = "{name: old, match: {}, to: [openai], until: 2036-01-01T00:00:00Z}"
    Path("config.yaml").write_text(
        f"providers: {{openai: {{}}}}\nroutes:\n  - {until}\n  - {{name: new, match: {{}}, to: [openai]}}\n"
    )
    for at, route in (("2035-12-31T23:59:59Z", "old"), ("2036-01-01T01:00:00+01:00", "new")):
        assert told(capsys, "--model", "m", "--at", at)["route"] == route


# A running sidecar: see tests/admin/test_explain.py for one that answers.


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://127.0.0.1:4011", "--live https://127.0.0.1:4011: write the address of the admin port"),
        ("http://127.0.0.1:port", "--live http://127.0.0.1:port: write the address"),
        ("http://127.0.0.1:4011/api", "--live http://127.0.0.1:4011/api: write the address"),
        ("http://sidecar.example:4011", "--live http://sidecar.example:4011: the admin port explains to this machine"),
    ],
)
def test_an_address_that_is_none(url: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """2, before anything is sent: a saved request may hold keys."""
    assert refused(capsys, "--live", url).startswith(said)


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """1, and what to look at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]  # bound, but nobody listens
        assert main(["explain", "--live", f"127.0.0.1:{port}", "--model", "m"]) == 1
    said = capsys.readouterr().err
    assert "no sidecar answers at" in said and "Connection refused" in said and "`admin` address" in said


@pytest.mark.parametrize(("status", "body"), [(404, b"404: Not Found"), (200, b"hello"), (404, b'{"nothing": "here"}')])
def test_somebody_else_answers(status: int, body: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """1, and not a traceback."""

    class Other(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert main(["explain", "--live", f"http://127.0.0.1:{server.server_port}", "--model", "m"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("fusebox: ") and ("admin" in said)


def test_bytes_that_are_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    """As a terminal of another encoding sends them."""
    assert "no text" in refused(capsys, "--live", "127.0.0.1:1", "--model", "\udcff")
    assert told(capsys, "--model", "\udcff", code=1)["error"]["status"] in (400, 404)
