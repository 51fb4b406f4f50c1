"""Reloads one by one: who asks for them, what they answer, what they keep, and what they cannot change."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import trustme

from proxy.cli import main
from proxy.commands.check import check_file
from proxy.config.report import as_json
from tests.harness import Client, Cut, Fusebox, Upstream, chat, ok, request
from tests.reloading import OFF, OFTEN, SECRET, SIMPLE, STREAM, Files, digest, healthy, post, route, running, status


async def test_signal_and_order(tmp_path: Path) -> None:
    """Without a watch, SIGHUP and ``/api/reload`` do it; the answer and the log say what changed, and of a bad file why."""
    async with Upstream() as upstream:
        upstream.script = healthy
        async with running(SIMPLE.format(port=upstream.port, name="one"), tmp_path) as (fusebox, files):
            first = fusebox.config.read_text()
            two, three = (files.text(SIMPLE.format(port=upstream.port, name=name)) for name in ("two", "three"))
            files.rename(two)
            assert await route(fusebox) == "one"
            assert (await status(fusebox))["reload"]["count"] == 0
            fusebox.signal(signal.SIGHUP)
            line = await fusebox.line(event="reloaded")
            assert (line["why"], line["hash"], line["was"]) == ("signal", digest(two), digest(first))
            assert (line["routes_added"], line["routes_removed"]) == (["two"], ["one"])
            assert await route(fusebox) == "two"
            files.swap(three + "drain: 5s\n")
            answer = (await post(fusebox)).json
            changes = {"routes_added": ["three"], "routes_removed": ["two"], "other": ["drain"]}
            assert (answer["reloaded"], answer["changes"], answer["restart_needed"]) == (True, changes, [])
            # A bad file: every problem, as `check` prints them, and the good one stays.
            files.rename(f"{three}bad: {SECRET}\nroutes: 5\n")
            response = await post(fusebox)
            refused = response.json
            printed = json.loads(as_json([check_file(fusebox.config, {}, 0.0)], strict=False))
            assert (response.status, refused["reloaded"], refused["hash"]) == (422, False, answer["hash"])
            assert (refused["files"], refused["ok"]) == (printed["files"], False)
            assert len(refused["files"][0]["problems"]) >= 2 and SECRET.encode() not in response.body
            shown = (await status(fusebox))["reload"]
            assert (shown["count"], shown["failures"], shown["failing"]) == (2, 1, True)
            assert shown["last_error"]["files"] == refused["files"]
            assert (await fusebox.line(event="reload_failed"))["count"] == len(refused["files"][0]["problems"])
            assert await route(fusebox) == "three"
            # Gone altogether; then good again.
            fusebox.config.unlink()
            assert (await post(fusebox)).status == 422 and await route(fusebox) == "three"
            files.rename(two)
            assert (await post(fusebox)).status == 200 and await route(fusebox) == "two"
            shown = (await status(fusebox))["reload"]
            assert (shown["count"], shown["failures"], shown["failing"]) == (3, 2, False)


async def test_who_may_order_a_reload(tmp_path: Path) -> None:
    """Nobody from another host, no page in a browser, and nothing that is no JSON."""
    async with Upstream() as upstream, running(SIMPLE.format(port=upstream.port, name="one"), tmp_path) as (fusebox, _):
        for expected, host, headers in (
            (403, "evil.test", []),
            (403, "127.0.0.1", [("Origin", "https://evil.test")]),
            (415, "127.0.0.1", [("Content-Type", "text/plain")]),
            (403, "localhost", [("Origin", "http://localhost:1")]),
            (200, f"localhost:{fusebox.admin_port}", [("Origin", f"http://localhost:{fusebox.admin_port}")]),
        ):
            async with Client(fusebox.admin_port) as admin:
                order = request("POST", "/api/reload", b"{}", headers, host=host)
                assert (await admin.exchange(order)).status == expected
        async with Client(fusebox.admin_port) as admin:
            assert (await admin.exchange(request("GET", "/api/reload"))).status == 405
        assert (await status(fusebox))["reload"]["count"] == 1


async def test_what_needs_a_restart_says_so(tmp_path: Path) -> None:
    """The rest is in force at once: level and drain, too. What the start has fixed stays, and is named until then."""
    async with Upstream() as upstream:
        upstream.script = healthy
        fusebox = Fusebox(SIMPLE.format(port=upstream.port, name="one"), tmp_path, more=OFF)
        files = Files(fusebox)
        await fusebox.start()
        text = SIMPLE.format(port=upstream.port, name="two") + "drain: 100ms\nlimits: {headers: 8KiB}\n"
        files.rename(f"listen: 127.0.0.1:1\nadmin: 127.0.0.1:{fusebox.admin_port}\nlog: {{level: warning}}\n{text}")
        answer = await post(fusebox)
        assert (answer.status, answer.json["restart_needed"]) == (200, ["listen", "limits.headers"])
        assert await route(fusebox) == "two"
        async with Client(fusebox.port) as client:
            assert (await client.exchange(chat(headers=[("x-long", "x" * 20_000)]))).status == 200
        shown = await status(fusebox)
        assert (shown["reload"]["restart_needed"], shown["policy"]["routes"]) == (["listen", "limits.headers"], ["two"])
        assert [line["event"] for line in fusebox.lines] == ["ready"]  # only warnings are logged by now
        files.rename(files.text(text + "log: {level: debug}\n"))
        assert (await post(fusebox)).json["restart_needed"] == ["limits.headers"]
        assert (await fusebox.line(event="reloaded"))["restart_needed"] == ["limits.headers"]
        # The drain, with the bound of now: a stream that does not end is cut.
        upstream.script = None
        async with Client(fusebox.port) as client:
            await client.send(chat(stream=True))
            exchange = await upstream.next()
            await exchange.body.rest()
            await exchange.send(STREAM + b"8\r\ndata: x\n\r\n")
            _, body = await client.begin()
            fusebox.signal(signal.SIGTERM)
            assert (await fusebox.line(event="draining"))["bound_s"] == 0.1
            fusebox.signal(signal.SIGHUP)  # asks for nothing any more, and must not end it
            with pytest.raises(Cut):
                await body.rest()
        assert await fusebox.wait() == 0


KEYS = """
providers:
  {name}: {{base_url: "http://127.0.0.1:{port}/v1", keys: [{{env: KEY_ONE}}, {{env: KEY_TWO}}]}}
{more}
routes: [{{name: all, match: {{}}, to: [{name}]}}]
"""


async def test_what_outlives_a_reload(tmp_path: Path) -> None:
    """The turn of the keys and who is under way; connections to an address of before end after their last answer."""
    keys = {"KEY_ONE": "the-first-key", "KEY_TWO": "the-second-key"}
    async with Upstream() as old, Upstream() as new:
        text = KEYS.format(port=old.port, name="main", more="")
        async with running(text, tmp_path, environment=keys) as (fusebox, files), Client(fusebox.port) as client:
            used = []
            for number in range(4):
                await client.send(chat())
                exchange = await old.next()
                used.append(exchange.head.one("authorization"))
                await exchange.answer(ok())
                assert (await client.response()).status == 200
                files.rename(files.text(text + f"drain: {number + 1}s\n"))
                assert (await post(fusebox)).json["changes"] == {"other": ["drain"]}
            assert used == [used[0], used[1]] * 2 and used[0] != used[1] and old.connections == 1
            # Under way at the old address, under rules of the old breaker.
            await client.send(chat())
            exchange = await old.next()
            files.rename(files.text(KEYS.format(port=new.port, name="main", more="breaker: {window: 10s}")))
            assert (await post(fusebox)).json["changes"] == {
                "providers_changed": ["main.base_url"],
                "other": ["breaker", "drain"],
            }
            assert [one["under_way"] for one in (await status(fusebox))["providers"]] == [1]
            new.script = healthy
            async with Client(fusebox.port) as other:
                assert (await other.exchange(chat())).status == 200
            await exchange.body.rest()
            await exchange.send(ok(b"from before"))
            assert (await client.response()).body == b"from before"
            assert await exchange.hung_up() == b"" and new.requests == 1
            shown = (await status(fusebox))["providers"]
            assert shown[0]["under_way"] == 0 and shown[0]["keys"] == {"mode": "own", "count": 2, "missing": []}
            # A provider that is named for the first time, the built-in one at that, and a key that is not there.
            demo = "providers: {demo: {}, x: {base_url: 'http://x.test/v1', keys: [{env: NO_SUCH_KEY}]}}\n"
            files.rename(files.text(demo + "routes: [{name: all, match: {}, to: [demo]}]\n"))
            assert (await post(fusebox)).json["changes"]["providers_removed"] == ["main"]
            asked = chat(messages=[{"role": "user", "content": "hello"}])
            assert (await client.exchange(asked)).status == 200
            assert (await fusebox.line(event="keys_missing"))["provider"] == "x"
        for key in keys.values():
            assert key.encode() not in fusebox.raw_log


async def test_included_files_and_a_candidate(tmp_path: Path) -> None:
    """Both are watched; a bad candidate is no reason to refuse the policy, and a good one counts."""
    team, candidate = tmp_path / "team.yaml", tmp_path / "candidate.yaml"
    rule = "routes: [{{name: {name}, match: {{}}, to: [main/{name}]}}]\n"
    team.write_text(rule.format(name="team-1"))
    candidate.write_text("routes: 5\n")
    async with Upstream() as upstream:
        upstream.script = healthy
        main = SIMPLE.format(port=upstream.port, name="x").partition("routes:")[0]
        config = f"include: [team.yaml]\nshadow: candidate.yaml\n{main}"
        async with running(config, tmp_path, OFTEN) as (fusebox, _):
            assert [line["event"] for line in fusebox.lines] == ["shadow_unusable", "ready"]
            assert await route(fusebox) == "team-1"
            candidate.write_text(rule.format(name="other"))
            since = len(fusebox.lines)
            await fusebox.line(since, event="reloaded", why="content")
            assert await route(fusebox) == "team-1"
            shown = (await status(fusebox))["shadow"]
            pair = {"decided": "team-1 -> main/team-1", "candidate": "other -> main/other", "count": 1}
            assert (shown["compared"], shown["differing"], shown["pairs"]) == (1, 1, [pair])
            team.write_text(rule.format(name="team-2"))
            line = await fusebox.line(event="reloaded", routes_added=["team-2"])
            assert line["routes_removed"] == ["team-1"] and await route(fusebox) == "team-2"
            # Broken: told once, however often it is looked at.
            team.write_text("routes: [{")
            await fusebox.line(event="reload_failed")
            team.write_text(rule.format(name="team-3"))
            await fusebox.line(event="reloaded", routes_added=["team-3"])
            assert [line["event"] for line in fusebox.lines].count("reload_failed") == 1
            assert [Path(file).name for file in (await status(fusebox))["policy"]["files"]] == [
                fusebox.config.name,
                *("team.yaml", "candidate.yaml"),
            ]


async def test_a_certificate_that_is_missing(tmp_path: Path) -> None:
    """Not the file's fault: 409, the good policy stays, and it is taken by itself as soon as the certificate is there."""
    trust = tmp_path / "ca.pem"
    async with Upstream() as upstream:
        upstream.script = healthy
        async with running(SIMPLE.format(port=upstream.port, name="one"), tmp_path, OFTEN) as (fusebox, files):
            more = f"\n  other: {{base_url: 'https://x.test/v1', keys: none, ca: {trust}}}\nroutes:"
            files.rename(files.text(SIMPLE.format(port=upstream.port, name="two").replace("\nroutes:", more)))
            line = await fusebox.line(event="reload_failed")
            assert "ca.pem cannot be used: No such file" in line["error"]
            assert (await post(fusebox)).status == 409 and await route(fusebox) == "one"
            trustme.CA().cert_pem.write_to_path(str(trust))
            assert (await fusebox.line(event="reloaded"))["why"] == "content"
            assert await route(fusebox) == "two"
            assert (await status(fusebox))["reload"]["failing"] is False


@pytest.mark.parametrize(("value", "said"), [("1ms", "too often"), ("0s", "too often"), ("soon", "not a duration")])
def test_a_watch_that_cannot_be(value: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage, and nothing is started."""
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--config", "x.yaml", "--watch", value])
    assert ended.value.code == 2 and said in capsys.readouterr().err
