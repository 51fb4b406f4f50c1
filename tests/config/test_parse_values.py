"""What a sound configuration file comes to: values, defaults, positions, and the pieces they are read by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from proxy.config import nodes
from proxy.config.parse import Document, parse, parse_document
from proxy.config.presets import PRESETS
from proxy.config.problems import BadValue, ConfigError, looks_secret, render, shown
from proxy.config.resolve import resolve
from proxy.config.schema import Bytes, Config, Keys, KeySource, Listen, Provider, Seconds, Step
from proxy.config.syntax import env_name, origin, url_root
from proxy.config.syntax import target as read_target
from proxy.exchange import Target

EXAMPLE = Path(__file__).parents[2] / "config.yaml"

GOOD = (
    "providers: {openai: {keys: [{env: A}]}, near: {base_url: 'http://h/v1', keys: none}}\n"
    "routes: [{name: all, match: {}, to: [openai]}]\n"
)
"""A sound file to which a test adds lines, from line 3 on."""

ROUTE = "providers: {openai: {keys: [{env: A}]}}\nroutes:\n- name: r\n  match: {}\n  to: [openai]\n"
"""A route to which a test adds a line, which is line 6."""

OPENAI = "routes: [{name: all, match: {}, to: [openai]}]\nproviders:\n  openai:\n"
"""A provider to which a test adds lines, from line 4 on."""


def to(chain: str, providers: str = "{openai: {keys: none}, groq: {keys: none}}") -> str:
    """A file with one route whose chain is `chain`, in line 2 from column 35 on."""
    return f"providers: {providers}\nroutes: [{{name: r, match: {{}}, to: {chain}}}]\n"


# What is accepted.


def test_the_example_holds_every_key_and_says_its_defaults() -> None:
    """config.yaml parses; written again by hand from its values it is the same; each key there is appears in it."""
    text = EXAMPLE.read_text(encoding="utf-8")
    config = parse(text)
    assert parse(yaml.safe_dump(yaml.safe_load(text), sort_keys=False)) == config
    assert config.listen == Listen("127.0.0.1", 4010)
    assert config.admin == Listen("127.0.0.1", 4011)
    assert list(config.providers) == ["openai", "anthropic", "deepseek", "modelslab", "local"]
    assert config.providers["anthropic"].keys == Keys("own", (KeySource(file="/var/run/fusebox/keys/anthropic"),))
    assert config.routes[1].to == (
        Step(((Target("openai", "gpt-5.4"), 95.0), (Target("deepseek", "deepseek-chat"), 5.0))),
        Step(((Target("anthropic", "claude-sonnet-4-5"), 1.0),)),
    )
    assert config.routes[1].timeouts.over(config.timeouts).first_event == Seconds(15)
    price = config.models["openai/gpt-5.4"].price
    assert price is not None and price.long_context is not None and price.long_context.over == 272_000
    # What the comments call the default is the default.
    least = parse("providers: {openai: }\nroutes: [{name: r, match: {}, to: [openai]}]\n")
    for name in ("listen", "admin", "breaker", "timeouts", "retry", "response_headers", "limits", "drain", "log"):
        assert getattr(config, name) == getattr(least, name), name
    structs = (
        Config,
        type(config.breaker),
        Provider,
        type(price),
        type(config.routes[0]),
        type(config.routes[0].match),
    )
    written = set(re.findall(r"([a-z0-9_]+):", text))
    assert {name for one in structs for name in one.__struct_encode_fields__} <= written


def test_positions_tell_where_each_value_stands() -> None:
    """A single value is at itself, a list or mapping at its key, an entry of a list where it begins."""
    found: Document = parse_document(OPENAI + "    keys:\n    - env: A\n    - {file: b}\n")
    assert found.positions["providers.openai"] == (3, 3)
    assert found.positions["providers.openai.keys"] == (4, 5)
    assert found.positions["providers.openai.keys[0].env"] == (5, 12)
    assert found.positions["providers.openai.keys[1]"] == (6, 7)
    assert found.positions["routes[0].to[0]"] == (1, 38)
    assert found.config == parse(OPENAI + "    keys: [{env: A}, {file: b}]\n")


def test_one_text_stands_for_a_list_of_one_in_a_match() -> None:
    """model, path, header values and complexity take one text or several; header names lose their case."""
    one = parse(ROUTE.replace("match: {}", "match: {model: a, path: /b, header: {X-Team: c}, complexity: simple}"))
    many = parse(
        ROUTE.replace("match: {}", "match: {model: [a], path: [/b], header: {x-team: [c]}, complexity: [simple]}")
    )
    assert one == many
    assert one.routes[0].match.header == {"x-team": ("c",)}
    assert one.routes[0].match.model == ("a",)


def test_sections_whose_keys_are_all_commented_out_are_left_at_their_defaults() -> None:
    """`breaker:` with nothing below it is the default breaker, and so with the other sections and with a provider."""
    empty = "".join(f"{name}:\n" for name in ("breaker", "timeouts", "retry", "models", "limits", "log"))
    assert parse(GOOD + empty) == parse(GOOD)
    assert parse(OPENAI).providers["openai"] == resolve("openai", Provider())


def test_anchors_aliases_and_merges_are_resolved() -> None:
    """Own keys go before merged ones, earlier merges before later ones, and a merge may itself merge."""
    text = (
        "providers:\n"
        "  a: &a {base_url: http://a/v1, keys: none, max_concurrency: 1}\n"
        "  b: &b {<<: *a, max_concurrency: 2}\n"
        "  c: {<<: [*b, *a], base_url: http://c/v1}\n"
        "routes: [{name: all, match: {}, to: &chain [a]}]\n"
    )
    providers = parse(text).providers
    assert (providers["b"].base_url, providers["b"].max_concurrency) == ("http://a/v1", 2)
    assert (providers["c"].base_url, providers["c"].max_concurrency) == ("http://c/v1", 2)
    assert providers["c"].keys == Keys("none")
    aliased = parse("providers: {a: &p {base_url: 'http://h'}, b: *p}\nroutes: [{name: r, match: {}, to: [a, b]}]\n")
    assert aliased.providers["a"] == aliased.providers["b"]


def test_line_ends_and_a_byte_order_mark_change_nothing() -> None:
    """A file saved on Windows is the same file, and its problems stand where an editor shows them."""
    text = EXAMPLE.read_text(encoding="utf-8")
    assert parse_document("\ufeff" + text.replace("\n", "\r\n")) == parse_document(text)
    with pytest.raises(ConfigError) as caught:
        parse("\ufeffdrain: 5\r\n" + GOOD.replace("\n", "\r\n") + "log: 5\r\n")
    assert [(one.line, one.column) for one in caught.value.problems] == [(1, 8), (4, 6)]


def test_values_at_their_bounds_are_taken() -> None:
    """The limits themselves are inside, digits may be grouped, and zero is a wait where none is meant."""
    config = parse(
        GOOD
        + "breaker: {failure_rate: 1, min_requests: 1}\nretry: {attempts: 0, max_wait: 0s, budget: 0.0}\ndrain: 0s\n"
        "models: {openai/a/b: {context: 1_050_000}}\nlisten: localhost:65535\nadmin: '[::1]:0'\n"
        "limits: {body: 1, headers: 1GiB}\n"
    )
    assert (config.breaker.failure_rate, config.breaker.min_requests, config.retry.attempts) == (1.0, 1, 0)
    assert isinstance(config.breaker.failure_rate, float)
    assert config.models["openai/a/b"].context == 1_050_000
    assert config.listen.hosts == ("127.0.0.1", "::1")
    assert config.admin == Listen("::1", 0)
    assert config.limits.headers == 1024**3
    deep = parse(ROUTE + "  timeouts: {total: ~}\n")
    assert deep.routes[0].timeouts.total is None


@pytest.mark.parametrize(
    ("listen", "admin"),
    [
        ("127.0.0.1:9", "127.0.0.2:9"),
        ("0.0.0.0:9", "'[::1]:9'"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("127.0.0.1:9", "127.0.0.1:8"),
    ],
)
def test_different_addresses_are_fine(listen: str, admin: str) -> None:
    """Another host or port, or port 0, which is a free port each time."""
    assert str(parse(f"{GOOD}listen: {listen}\nadmin: {admin}\n").listen) == listen


@pytest.mark.parametrize(
    ("chain", "providers"),
    [
        ("[a, b]", "{a: {base_url: 'http://h/v1'}, b: {base_url: 'http://H:80/other'}}"),
        ("[a, b]", "{a: {base_url: 'http://h/v1'}, b: {base_url: 'http://g/v1', keys: none}}"),
        ("[a, b]", "{a: {base_url: 'http://h/v1'}, b: {base_url: 'http://g/v1', keys: [{env: B}]}}"),
        ("[a, b]", "{a: {base_url: 'http://h/v1'}, b: {anthropic_url: 'http://g'}}"),
        ("[a, b]", "{a: {base_url: 'http://[::1]/v1'}, b: {base_url: 'http://[::1]:80'}}"),
        ("[openai, ollama]", "{openai: , ollama: }"),
        ("[openai, demo]", "{openai: , demo: {keys: client}}"),
    ],
)
def test_the_clients_credentials_may_reach_one_host(chain: str, providers: str) -> None:
    """One host and port, other formats and providers with keys of their own or none are no second host."""
    assert len(parse(to(chain, providers)).routes[0].to) == 2


def test_a_route_that_takes_everything_may_stand_last() -> None:
    """Routes with a condition do not hide those after them, whatever they leave out."""
    routes = "".join(
        f"- {{name: r{number}, match: {match}, to: [openai]}}\n"
        for number, match in enumerate(
            ["{model: '*'}", "{path: /v1/*}", "{header: {a: '*'}}", "{complexity: simple}", "{}"]
        )
    )
    assert len(parse(f"providers: {{openai: }}\nroutes:\n{routes}").routes) == 5


# The pieces.


@pytest.mark.parametrize(
    "key",
    [
        *(
            "sk-abcdef123456",
            "sk-ant-api03-Zx81hTq0",
            "gsk_Zx81hTq0LmN4",
            "AIzaSyD4x8Qh2Lk9",
            "hf_Zx81hTq0",
            "xai-Zx81hTq0",
        ),
        *("0123456789abcdef0123456789abcdef", "c1b2a3d4-0f0e-4a1b-8c2d-1234567890ab", "Bearer abc", "eyJhbGciOiJ"),
    ],
)
def test_what_looks_like_a_key_is_not_shown(key: str) -> None:
    """Keys of known forms, random runs and UUIDs are left out of messages and paths."""
    assert looks_secret(key)
    assert key not in shown(key) + render(("models", key))


@pytest.mark.parametrize(
    "name",
    [
        *("gpt-5.4", "openai/gpt-5.4", "modelslab/meta-llama-Llama-3.2-3B", "claude-3-5-sonnet-20241022", "auto", "4"),
        *(
            "anthropic/claude-sonnet-4-5",
            "accounts/fireworks/models/llama-v3p1-405b-instruct",
            "OPENAI_API_KEY",
            "task-forces",
        ),
    ],
)
def test_names_are_shown(name: str) -> None:
    """Names of models, targets and variables stand in messages, or nobody would find them."""
    assert shown(name) == repr(name)
    assert "not shown" not in render(("models", name))


def test_paths_are_written_as_people_do() -> None:
    """Plain keys after a dot, indexes and other keys in brackets; nothing breaks the line."""
    assert render(()) == ""
    assert render(("routes", 2, "to", 0)) == "routes[2].to[0]"
    assert render(("models", "openai/gpt-5.4", "context")) == 'models["openai/gpt-5.4"].context'
    assert render(("a\n\x1b\u2028", "b")) == '["a\\n\\x1b\\u2028"].b'


def test_a_provider_takes_from_its_preset_what_is_not_written() -> None:
    """Each field alone; keys that are written stay, even as they would be by default; twice is once."""
    written = resolve("ollama", Provider(base_url="http://127.0.0.1:11434/other"))
    assert written.base_url == "http://127.0.0.1:11434/other"
    assert written.anthropic_url == PRESETS["ollama"].anthropic_url
    assert (written.keys, written.auth, written.anthropic_auth) == (Keys("none"), "bearer", "bearer")
    assert resolve("ollama", Provider(keys=Keys("client"))).keys == Keys("client")
    assert resolve("mine", Provider()) == Provider(keys=Keys("client"), auth="bearer", anthropic_auth="x-api-key")
    for name in PRESETS:
        once = resolve(name, Provider())
        assert resolve(name, once) == once
        assert once.keys.stated


def test_units_are_read() -> None:
    """Durations in seconds, sizes in bytes, a sentence for what is neither."""
    assert [Seconds.parse(text) for text in ("250ms", "1.5s", "2m", "1h")] == [0.25, 1.5, 120, 3600]
    assert [Bytes.parse(text) for text in ("7", "64KiB", "32MiB", "1GiB")] == [7, 65536, 32 * 1024**2, 1024**3]
    with pytest.raises(BadValue, match="'5x' is not a duration: write a number with ms, s, m or h"):
        Seconds.parse("5x")


def test_urls_are_brought_into_one_form() -> None:
    """Scheme and host in lower case, no slash at the end; the port of the scheme when none is written."""
    assert url_root("HTTPS://API.Example.com:8443/V1/") == "https://api.example.com:8443/V1"
    assert url_root("http://[::1]:80/") == "http://[::1]:80"
    assert origin("https://h/v1") == ("h", 443)
    assert origin("http://[::1]/v1") == ("::1", 80)


def test_targets_split_at_their_first_slash() -> None:
    """Models may hold slashes; a provider alone keeps the client's model."""
    assert read_target("openrouter/meta/llama-3:free") == Target("openrouter", "meta/llama-3:free")
    assert read_target("openai") == Target("openai")
    assert env_name("AIZASYD4X8QH2LK9ABC012345") == "AIZASYD4X8QH2LK9ABC012345"


def test_the_parser_in_python_reads_the_example_alike() -> None:
    """Both parsers give the same configuration and the same positions."""
    text = EXAMPLE.read_text(encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nodes, "LOADER", yaml.SafeLoader)
        slow = parse_document(text)
    assert slow == parse_document(text)
