"""What a sound file still needs from outside: keys, certificates, and a time that is not over."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from proxy.config import present
from proxy.config.parse import Document, parse_document
from proxy.config.present import ended, missing
from proxy.config.store import load_document

ALL = "routes: [{name: all, match: {}, to: [openai]}]\n"
SECRET = "two words of a vault"


def document(keys: str, more: str = "") -> Document:
    """A file whose provider, in line 2, has these keys from column 21 on."""
    return parse_document(f"{ALL}providers: {{openai: {{keys: {keys}{more}}}}}\n", source="my.yaml")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "is not set"),
        ("", "is not set"),
        ("  \n", "is not set"),
        (SECRET, "holds characters that no key has"),
        ("k\u00e9y", "holds characters"),
        ("key", None),
        (" key\n", None),
    ],
)
def test_environment_variables(value: str | None, reason: str | None) -> None:
    """At the variable's name, with what is the matter and not with the value."""
    found = missing(document("[{env: A_KEY}]"), {} if value is None else {"A_KEY": value})
    if reason is None:
        assert found == ()
    else:
        (one,) = found
        assert (one.line, one.column, one.severity, one.file) == (2, 35, "warning", "my.yaml")
        assert one.path == "providers.openai.keys[0].env" and f"variable A_KEY {reason}" in one.message
        assert "openai is not asked" in str(one.hint) and SECRET not in str(one)


def test_key_files(tmp_path: Path) -> None:
    """Absent, a folder, empty, too large, no key; and a key."""
    for name, content in (("empty", ""), ("large", "k" * 20_000), ("prose", SECRET), ("key", "key\n")):
        (tmp_path / name).write_text(content)
    names = ["absent", ".", "empty", "large", "prose", "key"]
    found = missing(document(f"[{', '.join(f'{{file: {tmp_path}/{name}}}' for name in names)}]"), {})
    reasons = ["cannot be read: No such file", "cannot be read: Is a directory", "is empty", "too large", "characters"]
    assert [one.path for one in found] == [f"providers.openai.keys[{index}].file" for index in range(5)]
    assert all(reason in one.message for one, reason in zip(found, reasons, strict=True)), found
    assert all("the other keys are used" in str(one.hint) and SECRET not in str(one) for one in found)


def test_ca_files(tmp_path: Path) -> None:
    """Certificates in PEM form are wanted."""
    (tmp_path / "prose").write_text(SECRET)
    (tmp_path / "pem").write_bytes(trustme.CA().cert_pem.bytes())
    for name, reason in (("absent", "cannot be read"), ("prose", "holds no certificates in PEM form"), ("pem", None)):
        found = missing(document("none", f", ca: {tmp_path}/{name}"), {})
        assert [one.path for one in found] == ([] if reason is None else ["providers.openai.ca"])
        assert reason is None or reason in found[0].message


def test_what_traces_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages, and what their headers are in."""
    text = f"{ALL}providers: {{openai: {{keys: none}}}}\ntraces: {{headers: {{authorization: {{env: OTLP}}}}}}\n"
    made = parse_document(text, source="my.yaml")
    (one,) = missing(made, {})
    assert one.path == "traces.headers.authorization.env" and "variable OTLP is not set" in one.message
    assert missing(made, {"OTLP": "Bearer token"}) == ()

    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(present, "find_spec", absent)  # as where the extra is not installed
    (one,) = missing(made, {"OTLP": "Bearer token"})
    assert (one.path, one.line, one.severity) == ("traces", 3, "warning")
    assert "not installed" in one.message and "llm-fusebox[otel]" in str(one.hint)


def test_keys_named_in_an_included_file(tmp_path: Path) -> None:
    """The problem stands in that file."""
    (tmp_path / "main.yaml").write_text(f"include: more.yaml\n{ALL}")
    (tmp_path / "more.yaml").write_text("providers:\n  openai:\n    keys:\n    - env: A_KEY\n")
    (one,) = missing(load_document(tmp_path / "main.yaml"), {})
    assert (one.file, one.line, one.column) == (str(tmp_path / "more.yaml"), 4, 12)


def test_routes_that_have_ended() -> None:
    """From the moment itself on."""
    route = "{name: NAME, match: {model: NAME}, to: [openai], until: 2026-12-01T00:00:00+01:00}"
    text = f"providers: {{openai: {{keys: none}}}}\nroutes: [{route}, {route}]\n".replace("NAME", "a", 2).replace(
        "NAME", "b"
    )
    end_s = datetime(2026, 11, 30, 23, tzinfo=UTC).timestamp()
    assert ended(parse_document(text), end_s - 0.001) == ()
    found = ended(parse_document(text), end_s)
    assert [one.path for one in found] == ["routes[0].until", "routes[1].until"]
    assert "not in force since 2026-11-30 23:00 UTC" in found[0].message and found[0].severity == "warning"
