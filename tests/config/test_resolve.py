"""A provider put over its preset: what is written wins, and no key is led to a host that the file did not mean."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.presets import PRESETS
from proxy.config.resolve import resolve
from proxy.config.schema import CLIENT_KEYS, Keys, KeySource, Provider

OWN = Keys("own", (KeySource(env="A"),))
URLS = st.sampled_from(
    [None, None, "http://127.0.0.1:9/v1", "https://relay.test/x"]
    + [url for preset in PRESETS.values() for url in (preset.base_url, preset.anthropic_url) if url]
)
PROVIDERS = st.builds(
    Provider,
    base_url=URLS,
    anthropic_url=URLS,
    keys=st.sampled_from([Provider().keys, OWN, Keys("none"), CLIENT_KEYS]),
    auth=st.sampled_from([None, "bearer", "api-key"]),
    anthropic_auth=st.sampled_from([None, "bearer", "x-api-key"]),
    max_concurrency=st.none() | st.just(3),
    ca=st.none() | st.just("/ca"),
)
NAMES = st.sampled_from([*PRESETS, "unknown"])


def host(url: str) -> str:
    """Host and port."""
    return urlsplit(url).netloc.lower()


@given(NAMES, PROVIDERS)
def test_what_is_written_stays_and_twice_is_once(name: str, written: Provider) -> None:
    """Everything the file states is kept; afterwards nothing that has a default is open."""
    done = resolve(name, written)
    assert resolve(name, done) == done
    assert done.keys.stated and done.auth is not None and done.anthropic_auth is not None
    for field in Provider.__struct_fields__:
        stated = getattr(written, field)
        if stated is not None and stated != Provider().keys:
            assert getattr(done, field) == stated


@given(NAMES, PROVIDERS)
def test_an_address_of_the_preset_never_adds_a_host(name: str, written: Provider) -> None:
    """What is filled in beside an address of the file has the file's host, for the keys go to both."""
    done = resolve(name, written)
    for own, other, filled in (
        (written.base_url, written.anthropic_url, done.anthropic_url),
        (written.anthropic_url, written.base_url, done.base_url),
    ):
        if own is not None and other is None and filled is not None:
            assert host(filled) == host(own)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_bare_name_is_its_preset(name: str) -> None:
    """Nothing written, everything taken."""
    preset, done = PRESETS[name], resolve(name, Provider())
    assert (done.base_url, done.anthropic_url) == (preset.base_url, preset.anthropic_url)
    assert (done.auth, done.anthropic_auth, done.keys) == (
        preset.auth,
        preset.anthropic_auth,
        Keys(preset.keys_default),
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"base_url": "http://127.0.0.1:9/v1"}, ("http://127.0.0.1:9/v1", None)),
        ({"anthropic_url": "http://127.0.0.1:9"}, (None, "http://127.0.0.1:9")),
        (
            {"base_url": "https://api.deepseek.com/beta"},
            ("https://api.deepseek.com/beta", "https://api.deepseek.com/anthropic"),
        ),
        ({"base_url": "https://api.deepseek.com:8443"}, ("https://api.deepseek.com:8443", None)),
        ({"anthropic_url": "https://api.deepseek.com/a"}, ("https://api.deepseek.com", "https://api.deepseek.com/a")),
        ({"base_url": "http://a.test/v1", "anthropic_url": "http://b.test"}, ("http://a.test/v1", "http://b.test")),
    ],
)
def test_the_other_address(written: dict[str, str], expected: tuple[str | None, str | None]) -> None:
    """Dropped when the file leads to another host or port; kept when only the path differs."""
    done = resolve("deepseek", Provider(**written))  # type: ignore[arg-type]  # texts, whatever the field
    assert (done.base_url, done.anthropic_url) == expected


def test_an_unknown_name_takes_the_defaults() -> None:
    """It passes the client's credentials, each format in its usual header."""
    done = resolve("near", Provider(base_url="http://h/v1"))
    assert done == msgspec.structs.replace(
        Provider(base_url="http://h/v1"), keys=CLIENT_KEYS, auth="bearer", anthropic_auth="x-api-key"
    )
