"""Problems of a configuration file: each at its place, all at once, and no secret told."""

from __future__ import annotations

import pytest

from proxy.config.nodes import MAX_DEPTH, MAX_NODES
from proxy.config.parse import parse
from proxy.config.problems import ConfigError, Problem

PASTED = "sk-proj-Zx81hTq0LmN4"
"""What a key looks like that somebody pasted into the file."""

GOOD = (
    "providers: {openai: {keys: [{env: A}]}, near: {base_url: 'http://h/v1', keys: none}}\n"
    "routes: [{name: all, match: {}, to: [openai]}]\n"
)
"""Two lines to which a test adds the third, wrong one."""

ROUTE = "providers: {openai: {keys: [{env: A}]}}\nroutes:\n- name: r\n  match: {}\n  to: [openai]\n"
"""A route to which a test adds a line, which is line 6."""

OPENAI = "routes: [{name: all, match: {}, to: [openai]}]\nproviders:\n  openai:\n"
"""A provider to which a test adds lines, from line 4 on."""


def problems(text: str) -> tuple[Problem, ...]:
    """The problems of `text`, which must have some."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return caught.value.problems


def to(chain: str, providers: str = "{openai: {keys: none}, groq: {keys: none}}") -> str:
    """A file with one route whose chain is `chain`, in line 2 from column 35 on."""
    return f"providers: {providers}\nroutes: [{{name: r, match: {{}}, to: {chain}}}]\n"


# One row: a file with a single problem, where it is, its path, a part of its message, a part of its hint.
Row = tuple[str, str, str, str, str]

YAML_ROWS: list[Row] = [
    ("", "1:1", "", "the file is empty", "providers:"),
    ("# only a comment\n", "1:1", "", "the file is empty", "config.yaml"),
    ("~", "1:1", "", "the file is empty", ""),
    ("a: 'open\nb: 1\n", "1:4", "", "quote is never closed", "close"),
    ('a: "open', "1:4", "", "quote is never closed", "close"),
    ("a: [1, 2\nb: 3\n", "1:4", "", "not closed", "]"),
    ("a: {b: 1\n", "1:4", "", "not closed", "}"),
    ("a:\n\tb: 1\n", "2:1", "", "a tab where YAML wants spaces", "indent with spaces"),
    ("a: [1, {", "1:9", "", "left open", "] or }"),
    ("a: b: c\n", "1:5", "", "a colon where no key can be", "quotes"),
    ("a:\n  b: 1\n c: 2\n", "3:2", "", "fits neither", "indentation"),
    ("a: @x\n", "1:4", "", "cannot begin a value", "quotes"),
    ("a: *base\n", "1:4", "", "no anchor &base", "in quotes"),
    ("a: &x [1, *x]\n", "1:11", "", "inside the value it repeats", "write the value out"),
    ("a: &x 1\nb: &x 2\n", "2:4", "", "taken already", "name of its own"),
    ("a: 1\n---\nb: 2\n", "2:1", "", "second document", "one document"),
    ("a: 1\n...\nb", "3:1", "", "after the end of the document", "..."),
    ('a: "\\q"\n', "1:5", "", "escape", "backslash"),
    ("a: 1\nb: \x07\n", "2:4", "", "U+0007", "remove"),
    ("a: \ud800\n", "1:4", "", "U+D800", "remove"),
    ("\n" + "[" * (MAX_DEPTH + 1), f"2:{MAX_DEPTH + 1}", "", "levels deep", "flatter"),
    ("[" * 100_000, f"1:{MAX_DEPTH + 1}", "", "levels deep", "flatter"),
    ("- a\n" * MAX_NODES, f"{MAX_NODES}:3", "", "values in one file", "smaller"),
    ("<<: 4\n" + GOOD, "1:5", "", "<< can only take in a mapping", "<<: *base"),
    (
        GOOD + "drain: !!python/object:os.system 5s\n",
        "3:8",
        "",
        "!!python/object:os.system' is refused",
        "take the tag out",
    ),
    (GOOD + "drain: !env 5s\n", "3:8", "", "'!env' is refused", "take the tag out"),
    (GOOD + "log: !!omap {}\n", "3:6", "", "refused", "take the tag out"),
    (GOOD + "drain: 5s\ndrain: 6s\n", "4:1", "drain", "written twice, first in line 3", "keep one"),
    (GOOD + "log: {level: info, level: debug}\n", "3:20", "log.level", "written twice", "keep one"),
    (GOOD + "404: x\n", "3:1", "", "the key '404' is a number", "quotes"),
    (GOOD + "log: {on: x}\n", "3:7", "log", "the key 'on' is true or false", "quotes"),
    (GOOD + "log: {? [a] : x}\n", "3:9", "log", "a list stands as a key", "plain text"),
    (GOOD + "log: {? {a: b} : x}\n", "3:9", "log", "a mapping stands as a key", "plain text"),
    (GOOD + "log:\n  ?\n  : x\n", "4:4", "log", "an empty key", "name"),
    (GOOD + "drain: !!str 5\n", "3:8", "drain", "'5' is not a duration", "5s"),
    ("- providers\n", "1:1", "", "a mapping is wanted here, not a list", ""),
    ("providers", "1:1", "", "a mapping is wanted here, not text", ""),
]

TYPE_ROWS: list[Row] = [
    (GOOD + "drian: 5s\n", "3:1", "drian", "unknown key", "did you mean drain?"),
    (GOOD + "zzz: 5s\n", "3:1", "zzz", "unknown key", "known here: listen, admin"),
    (GOOD + "port: 4010\n", "3:1", "port", "unknown key", "called `listen`"),
    (GOOD + "drain: 5\n", "3:8", "drain", "has no unit", "write 5s"),
    (GOOD + "drain: 5 s\n", "3:8", "drain", "'5 s' is not a duration", "250ms, 5s, 2m"),
    (GOOD + "drain: -5s\n", "3:8", "drain", "'-5s' is not a duration", "5s"),
    (GOOD + f"drain: {'9' * 10}s\n", "3:8", "drain", "not a duration", "5s"),
    (GOOD + "drain: [5s]\n", "3:1", "drain", "text is wanted here, not a list", "write text"),
    (GOOD + "drain:\n", "3:1", "drain", "no value", "leave the key out"),
    (GOOD + "drain: true\n", "3:8", "drain", "true or false to YAML", 'quotes: "true"'),
    (GOOD + "limits: {body: 64MB}\n", "3:16", "limits.body", "'64MB' is not a size", "64MiB"),
    (GOOD + "limits: {body: 0}\n", "3:16", "limits.body", "above 0", "size"),
    (GOOD + "listen: 4010\n", "3:9", "listen", "'4010' is not an address", "127.0.0.1:4010"),
    (GOOD + "listen: 127.0.0.1:65536\n", "3:9", "listen", "not an address", "HOST:PORT"),
    (GOOD + "listen: ::1:4010\n", "3:9", "listen", "not an address", "[::1]:4010"),
    (GOOD + "response_headers: on\n", "3:19", "response_headers", "'on' is neither true nor false", "true or false"),
    (GOOD + "response_headers: True\n", "3:19", "response_headers", "neither", "true or false"),
    (GOOD + 'response_headers: "true"\n', "3:19", "response_headers", "neither", "without quotes"),
    (GOOD + "log: {level: loud}\n", "3:14", "log.level", "'loud' is not known", "debug, error, info, warning"),
    (GOOD + "breaker: {mode: off}\n", "3:17", "breaker.mode", "'off' is not known", "disabled"),
    (GOOD + "breaker: {failure_rate: 0}\n", "3:25", "breaker.failure_rate", "out of range", "above 0 and at most 1"),
    (GOOD + "breaker: {failure_rate: 1.01}\n", "3:25", "breaker.failure_rate", "out of range", "at most 1"),
    (GOOD + "breaker: {failure_rate: half}\n", "3:25", "breaker.failure_rate", "'half' is not a number", "0.5"),
    (GOOD + "breaker: {failure_rate: .inf}\n", "3:25", "breaker.failure_rate", "not a number", "0.5"),
    (GOOD + "breaker: {failure_rate: !!float .}\n", "3:25", "breaker.failure_rate", "'.' is not a number", "0.5"),
    (GOOD + "breaker: {min_requests: 0}\n", "3:25", "breaker.min_requests", "out of range", "at least 1"),
    (GOOD + "breaker: {min_requests: 1.5}\n", "3:25", "breaker.min_requests", "'1.5' is not a whole number", "10"),
    (GOOD + 'breaker: {min_requests: "5"}\n', "3:25", "breaker.min_requests", "in quotes", "whole number"),
    (GOOD + "breaker: {min_requests: 0x10}\n", "3:25", "breaker.min_requests", "not a whole number", ""),
    (GOOD + "breaker: {min_requests: 010}\n", "3:25", "breaker.min_requests", "not a whole number", ""),
    (GOOD + "breaker: {min_requests: 1:30}\n", "3:25", "breaker.min_requests", "not a whole number", ""),
    (GOOD + f"breaker: {{min_requests: {'1' * 5000}}}\n", "3:25", "breaker.min_requests", "not a whole number", ""),
    (GOOD + "breaker: {window: 0s}\n", "3:19", "breaker.window", "above 0", "longer"),
    (GOOD + "retry: {attempts: 6}\n", "3:19", "retry.attempts", "out of range", "at least 0 and at most 5"),
    (GOOD + "retry: {attempts: -1}\n", "3:19", "retry.attempts", "out of range", "at least 0"),
    (GOOD + "retry: [1]\n", "3:1", "retry", "a mapping is wanted here, not a list", "{attempts: ...}"),
    (GOOD + "timeouts: {total: 0ms}\n", "3:19", "timeouts.total", "above 0", "longer"),
    (ROUTE + "  hedge: {after: 0s}\n", "6:18", "routes[0].hedge.after", "above 0", "longer"),
    (ROUTE + "  hedge: {extra_load: 0.1}\n", "6:3", "routes[0].hedge.after", "`after` is missing", "after"),
    (ROUTE + "  deliver: whole\n  hedge: {after: 1s}\n", "7:3", "routes[0].hedge", "holds back", "leave one"),
    (ROUTE + "  on_content_filter: never\n", "6:22", "routes[0].on_content_filter", "never", "fallback"),
    (GOOD + "models: {openai/x: {context: 0}}\n", "3:30", 'models["openai/x"].context', "out of range", "at least 1"),
    (
        GOOD + "models: {openai/x: {price: {input: 1}}}\n",
        "3:21",
        'models["openai/x"].price.output',
        "`output` is missing",
        "",
    ),
    (GOOD + "models: [openai/x]\n", "3:1", "models", "a mapping is wanted here, not a list", "name: value"),
    (ROUTE + "  deliver: hole\n", "6:12", "routes[0].deliver", "'hole' is not known", "live, whole"),
    (ROUTE + "  sticky: x-user-id\n", "6:11", "routes[0].sticky", "is nothing to be sticky by", "header:x-user-id"),
    (ROUTE + "  sticky: 'header:a b'\n", "6:11", "routes[0].sticky", "is nothing to be sticky by", "header:x-user-id"),
    (ROUTE + "  timeouts: {total: 9}\n", "6:21", "routes[0].timeouts.total", "no unit", "write 9s"),
    (ROUTE + "  timeouts: {idle: 0s}\n", "6:20", "routes[0].timeouts.idle", "above 0", "longer"),
    (ROUTE + "  fallbacks: [groq]\n", "6:3", "routes[0].fallbacks", "unknown key", "write the fallbacks into `to`"),
]

MATCH_ROWS: list[Row] = [
    ("", "4:3", "", "a mapping is wanted here, not nothing", "match: {}"),
    ("[]", "4:3", "", "a mapping is wanted here, not a list", "match: {}"),
    ("{modle: x}", "4:11", ".modle", "unknown key", "did you mean model?"),
    ("{model: 4}", "4:18", ".model", "a number to YAML", 'quotes: "4"'),
    ("{model: 2024-01-01}", "4:18", ".model", "a date to YAML", "quotes"),
    ("{model: }", "4:11", ".model", "no value", "leave the key out"),
    ("{model: []}", "4:11", ".model", "an empty list", "leave this key out"),
    ("{model: [a, '']}", "4:22", ".model[1]", "an empty text", "leave the key out"),
    ("{model: [a, {b: c}]}", "4:22", ".model[1]", "text is wanted here, not a mapping", "write text"),
    ('{model: "a\\nb"}', "4:18", ".model", "line break or control character", "one line"),
    ("{path: v1/*}", "4:17", ".path", "'v1/*' does not fit", "begin it with / or *"),
    ("{complexity: hard}", "4:23", ".complexity", "'hard' is not known", "simple"),
    ("{header: x-team}", "4:19", ".header", "a mapping is wanted here, not text", "name: value"),
    ("{header: {}}", "4:11", ".header", "an empty mapping", "leave this key out"),
    ("{header: }", "4:11", ".header", "a mapping is wanted here, not nothing", ""),
    ("{header: {'a b': c}}", "4:20", '.header["a b"]', "not a header name", "x-team"),
    ("{header: {A: b, a: c}}", "4:26", ".header.a", "case does not count", "keep one"),
]

PROVIDER_ROWS: list[Row] = [
    ("keys: {env: A}", "4:5", ".keys", "a list is wanted here, not a mapping", "keys: [{env: NAME}]"),
    ("keys: []", "4:5", ".keys", "an empty list", "keys: none"),
    ("keys:", "4:5", ".keys", "no value", "[{env: NAME}]"),
    ("keys: null", "4:11", ".keys", "no value", "keys: none"),
    (f"keys: {PASTED}", "4:11", ".keys", "never written", "[{env: NAME}] or [{file: PATH}]"),
    ("keys: OPENAI_API_KEY", "4:11", ".keys", "never written", "[{env: NAME}]"),
    (f"keys: [{PASTED}]", "4:12", ".keys[0]", "never written", "[{env: NAME}]"),
    ("keys: [{env: A}, 12345]", "4:22", ".keys[1]", "never written", "[{env: NAME}]"),
    ("keys: [{env: A, file: B}]", "4:12", ".keys[0]", "both env and file", "one a key"),
    ("keys: [{}]", "4:12", ".keys[0]", "neither env nor file", "{env: NAME} or {file: PATH}"),
    ("keys: [{env: }]", "4:13", ".keys[0].env", "no value", ""),
    (f"keys: [{{env: {PASTED}}}]", "4:18", ".keys[0].env", "not the name of an environment", "never the key itself"),
    ("keys: [{env: AIzaSyD4x8Qh2Lk9}]", "4:18", ".keys[0].env", "not the name of an environment", "never the key"),
    (f"keys: [{{file: {PASTED}}}]", "4:19", ".keys[0].file", "not the path of a file", "never the key itself"),
    (f"keys: [{{token: {PASTED}}}]", "4:13", ".keys[0].token", "unknown key", "never written"),
    (f"api_key: {PASTED}", "4:5", ".api_key", "unknown key", "never written"),
    ("url: http://h", "4:5", ".url", "unknown key", "it is called `base_url` here"),
    ("base_url: api.openai.com/v1", "4:15", ".base_url", "http:// or https://", "https://api.openai.com/v1"),
    ("base_url: ftp://h/v1", "4:15", ".base_url", "http:// or https://", ""),
    ("base_url: 'http:///v1'", "4:15", ".base_url", "no host", ""),
    ("base_url: http://h:99999/v1", "4:15", ".base_url", "host or port", ""),
    ("base_url: http://h:0/v1", "4:15", ".base_url", "host or port", ""),
    ("base_url: 'http://h:/v1'", "4:15", ".base_url", "host or port", ""),
    ("base_url: 'http://[::1/v1'", "4:15", ".base_url", "host or port", ""),
    ("base_url: 'http://[1:2]/v1'", "4:15", ".base_url", "host or port", ""),
    ("base_url: 'http://h /v1'", "4:15", ".base_url", "cannot hold spaces", ""),
    ("base_url: http://h/v1?key=1", "4:15", ".base_url", "query", ""),
    ("anthropic_url: 'http://h/#a'", "4:20", ".anthropic_url", "fragment", ""),
    (f"base_url: https://me:{PASTED}@h/v1", "4:15", ".base_url", "user name or password", "keys: [{env: NAME}]"),
    ("auth: basic", "4:11", ".auth", "'basic' is not known", "api-key, bearer, x-api-key"),
    (f"auth: {PASTED}", "4:11", ".auth", "this value (not shown) is not known", ""),
    ("max_concurrency: 0", "4:22", ".max_concurrency", "out of range", "at least 1"),
    ("max_concurrency:", "4:5", ".max_concurrency", "no value", "leave the key out"),
]

CHAIN_ROWS: list[Row] = [
    (to("[]"), "2:31", "routes[0].to", "an empty chain", "openai/gpt-5.4"),
    (to(""), "2:31", "routes[0].to", "an empty chain", "openai/gpt-5.4"),
    (to("openai"), "2:35", "routes[0].to", "a list is wanted here, not text", "put it in brackets: [openai]"),
    (to("[groq, openai/]"), "2:42", "routes[0].to[1]", "no model after the slash", "without a slash"),
    (to("[/gpt]"), "2:36", "routes[0].to[0]", "no provider before the slash", "provider/model"),
    (to("[4]"), "2:36", "routes[0].to[0]", "a number to YAML", "quotes"),
    (to("['']"), "2:36", "routes[0].to[0]", "an empty text", ""),
    (to("[' openai']"), "2:36", "routes[0].to[0]", "is not a target", "provider/model"),
    (to("[[openai]]"), "2:36", "routes[0].to[0]", "a target is wanted here, not a list", "{provider/model: 95"),
    (to("[{}]"), "2:36", "routes[0].to[0]", "without a target", "95"),
    (to("[{openai/a: 0, groq/b: 1}]"), "2:47", 'routes[0].to[0]["openai/a"]', "a weight of 0", "above 0"),
    (to("[{openai/a: many}]"), "2:47", 'routes[0].to[0]["openai/a"]', "not a number", "write a number"),
    (to("[{openai/: 1}]"), "2:37", 'routes[0].to[0]["openai/"]', "no model after the slash", ""),
    (to("[{openai/a: 1, openai/a: 2}]"), "2:50", 'routes[0].to[0]["openai/a"]', "written twice", "keep one"),
    (to("[opnai/gpt]"), "2:36", "routes[0].to[0]", "provider 'opnai' is not declared", "did you mean openai?"),
    (
        to("[{groq/a: 50, oopenai/b: 50}]"),
        "2:49",
        'routes[0].to[0]["oopenai/b"]',
        "'oopenai' is not declared",
        "did you mean openai?",
    ),
    (
        to("[mistral]"),
        "2:36",
        "routes[0].to[0]",
        "'mistral' is not declared",
        "providers: mistral: {keys: [{env: MISTRAL_API_KEY}]}",
    ),
    (to("[ollama]"), "2:36", "routes[0].to[0]", "'ollama' is not declared", "providers: ollama: {}"),
    (
        to("[openai, groq]", "{openai: , groq: }"),
        "2:44",
        "routes[0].to[1]",
        "openai and groq are on different hosts",
        "keys: none",
    ),
    (
        to("[{a/x: 0.5, b/y: 0.5}]", "{a: {base_url: 'http://h/v1'}, b: {base_url: 'http://h:81/v1'}}"),
        *("2:47", 'routes[0].to[0]["b/y"]', "different hosts", "keys of its own"),
    ),
    (
        to("[a, b]", "{a: {anthropic_url: 'http://h'}, b: {anthropic_url: 'https://h'}}"),
        *("2:39", "routes[0].to[1]", "different hosts", "keys of its own"),
    ),
]

WHOLE_ROWS: list[Row] = [
    (
        "routes: [{name: r, match: {}, to: [a]}]\n",
        "1:1",
        "providers",
        "`providers` is missing",
        "{openai: {keys: [{env:",
    ),
    (
        "providers: {}\nroutes: [{name: r, match: {}, to: [a]}]\n",
        "1:1",
        "providers",
        "no provider",
        "{openai: {keys: [{env:",
    ),
    ("providers: {openai: }\n", "1:1", "routes", "`routes` is missing", "to: [openai]"),
    ("providers: {openai: }\nroutes:\n", "2:1", "routes", "no route", "to: [openai]"),
    (
        "providers: {openai: }\nroutes: [{match: {}, to: [openai]}]\n",
        "2:10",
        "routes[0].name",
        "`name` is missing",
        "name",
    ),
    (
        "providers: {openai: }\nroutes: [{name: r, to: [openai]}]\n",
        "2:10",
        "routes[0].match",
        "is missing",
        "match: {}",
    ),
    ("providers: {openai: }\nroutes: [{name: r, match: {}}]\n", "2:10", "routes[0].to", "is missing", "to: ["),
    (
        "providers: {openai: }\nroutes: [{name: a b, match: {}, to: [openai]}]\n",
        "2:17",
        "routes[0].name",
        "does not fit",
        "letters",
    ),
    ("providers: [openai]\nroutes: [{name: r, match: {}, to: [a]}]\n", "1:1", "providers", "a mapping is wanted", ""),
    (
        to("[c]", "{a/b: {base_url: 'http://h'}, c: {base_url: 'http://h'}}"),
        "1:13",
        'providers["a/b"]',
        "does not fit",
        "letters",
    ),
    (GOOD.replace("base_url: 'http://h/v1', ", ""), "1:41", "providers.near", "no address", "base_url"),
    (to("[mistrall]", "{mistrall: }"), "1:13", "providers.mistrall", "no preset has its name", "did you mean mistral?"),
    (
        to("[azure]", "{azure: }"),
        "1:13",
        "providers.azure",
        "differs from user to user",
        "https://RESOURCE.openai.azure.com",
    ),
    (GOOD + "models: {openai: {context: 5}}\n", "3:10", "models.openai", "names no model", "provider/model"),
    (
        GOOD + "models: {opnai/x: {context: 5}}\n",
        "3:10",
        'models["opnai/x"]',
        "'opnai' is not declared",
        "did you mean openai?",
    ),
    (GOOD + "models: {openai/: {context: 5}}\n", "3:10", 'models["openai/"]', "no model after the slash", ""),
    (GOOD + "listen: 127.0.0.1:9\nadmin: 127.0.0.1:9\n", "4:8", "admin", "the same address", "another port"),
    (GOOD + "listen: localhost:9\nadmin: '[::1]:9'\n", "4:8", "admin", "the same address", "another port"),
    (GOOD + "admin: 0.0.0.0:4010\n", "3:8", "admin", "the same address", "another port"),
    (GOOD + "listen: '[::]:4011'\n", "3:9", "listen", "the same address", "another port"),
    (
        ROUTE + "- {name: s, match: {}, to: [openai]}\n",
        "4:3",
        "routes[0].match",
        "takes every request",
        "move it to the end",
    ),
    (
        ROUTE.replace("{}\n", "{path: /*}\n") + "- {name: s, match: {}, to: [openai]}\n",
        *("4:3", "routes[0].match", "the one after it is never reached", "move it"),
    ),
    (
        ROUTE.replace("{}\n", "{model: a}\n") + "- {name: r, match: {}, to: [openai]}\n",
        *("6:10", "routes[1].name", "the route in line 3 is called 'r' too", "its own name"),
    ),
]


def rows() -> list[Row]:
    """All rows, with the file around those that give a line only."""
    matches = [
        (ROUTE.replace("match: {}", f"match: {written}"), at, f"routes[0].match{path}", *said)
        for written, at, path, *said in MATCH_ROWS
    ]
    providers = [
        (f"{OPENAI}    {written}\n", at, f"providers.openai{path}", *said) for written, at, path, *said in PROVIDER_ROWS
    ]
    found = [*YAML_ROWS, *TYPE_ROWS, *matches, *providers, *CHAIN_ROWS, *WHOLE_ROWS]
    return [(text, at, path, message, hint) for text, at, path, message, hint in found]


@pytest.mark.parametrize(("text", "at", "path", "message", "hint"), rows(), ids=lambda value: repr(value)[-40:])
def test_a_wrong_value_is_one_problem_at_its_place(text: str, at: str, path: str, message: str, hint: str) -> None:
    """Line, column and path are exact, message and hint are the telling ones, and nothing else is reported."""
    found = problems(text)
    assert [(f"{one.line}:{one.column}", one.path) for one in found] == [(at, path)], [str(one) for one in found]
    assert message in found[0].message
    assert hint in (found[0].hint or "")
    assert PASTED not in str(found[0])


def test_every_problem_of_a_file_is_found_at_once() -> None:
    """Problems of syntax, type and rule stand in one error, in the order of the file, one a line."""
    text = (
        "drain: 5\n"
        "providers:\n"
        "  openai: {keys: []}\n"
        "  y:\n"
        "routes:\n"
        "- name: r\n"
        "  match: {modle: x}\n"
        "  to: [z, {openai/: 1}]\n"
        "- name: r\n"
        "  match: {}\n"
        "  to: []\n"
        "rout: !x 1\n"
    )
    with pytest.raises(ConfigError) as caught:
        parse(text, source="etc/my.yaml")
    lines = str(caught.value).split("\n")
    assert [line.split(" ")[:2] for line in lines] == [
        ["etc/my.yaml:1:8:", "drain:"],
        ["etc/my.yaml:3:12:", "providers.openai.keys:"],
        ["etc/my.yaml:4:3:", "providers.y:"],
        ["etc/my.yaml:7:11:", "routes[0].match.modle:"],
        ["etc/my.yaml:8:8:", "routes[0].to[0]:"],
        ["etc/my.yaml:8:12:", 'routes[0].to[1]["openai/"]:'],
        ["etc/my.yaml:9:9:", "routes[1].name:"],
        ["etc/my.yaml:11:3:", "routes[1].to:"],
        ["etc/my.yaml:12:1:", "rout:"],
        ["etc/my.yaml:12:7:", "YAML"],
    ]
    assert lines[0] == "etc/my.yaml:1:8: drain: '5' has no unit. Write 5s for seconds, or use ms, m or h."
    assert lines[-2] == "etc/my.yaml:12:1: rout: unknown key. Did you mean routes?"
    assert str(caught.value.problems[0]) == "1:8: drain: '5' has no unit; write 5s for seconds, or use ms, m or h"


@pytest.mark.parametrize(
    "text",
    [
        f"{PASTED}",
        f"{PASTED}: 1\n",
        f"{OPENAI}    keys: {PASTED}\n",
        f"{OPENAI}    keys: ['{PASTED}', {{env: {PASTED}}}, {{file: {PASTED}}}, {{{PASTED}: 1}}]\n",
        f"{OPENAI}    keys: *{PASTED}\n",
        f"{OPENAI}    keys: !{PASTED} x\n",
        f"{OPENAI}    keys: &{PASTED} x\n    auth: &{PASTED} x\n",
        f"{OPENAI}    keys: '{PASTED}\n",
        f"{OPENAI}    base_url: http://{PASTED}@h\n    anthropic_url: http://h?{PASTED}\n",
        f"{OPENAI}    base_url: http://{PASTED}:{PASTED}\n    anthropic_url: {PASTED}\n",
        f"{OPENAI}    auth: {PASTED}\n    max_concurrency: {PASTED}\n    ca: [{PASTED}]\n",
        f"{OPENAI}  {PASTED}:\n",
        f"{GOOD}drain: {PASTED}\nlisten: {PASTED}\nlimits: {{body: {PASTED}}}\nresponse_headers: {PASTED}\n",
        to(f"[{PASTED}, {PASTED}/, {{{PASTED}: {PASTED}}}]", f"{{{PASTED}x: }}"),
        f"{GOOD}models: {{{PASTED}: 1}}\n",
    ],
)
def test_a_pasted_key_is_never_told(text: str) -> None:
    """Wherever a key was pasted, the error has neither it nor a part of it."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert PASTED[3:] not in str(caught.value)
    assert PASTED[3:] not in repr(caught.value)
    assert caught.value.__context__ is None or PASTED[3:] not in str(caught.value.__context__)
