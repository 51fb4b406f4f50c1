"""A request body with another model: its pieces, and the length that goes into Content-Length."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exchange import Carrier
from proxy.wire.body import RequestBody

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def joined(body: RequestBody, model: str | None) -> tuple[bytes, int | None]:
    """The bytes and the length with `model`."""
    pieces, length = body.with_model(model)
    return b"".join(pieces), length


@given(NAMES, NAMES, st.integers(0, 2), st.booleans())
def test_the_length_is_that_of_what_is_sent(old: str, new: str, copies: int, ascii_only: bool) -> None:
    """For shorter and longer names, escaped ones, several occurrences, small and large bodies."""
    text = json.dumps(old, ensure_ascii=ascii_only)
    filling = "x" * (70_000 if copies == 2 else 10)
    raw = ("{" + f'"model":{text},' * (copies + 1) + f'"y":"{filling}","z":{{"model":{text}}}}}').encode()
    body = RequestBody(raw, carrier=Carrier.JSON, model=old, length=len(raw))
    sent, length = joined(body, new)
    assert length == len(sent)
    assert json.loads(sent)["model"] == new
    assert json.loads(sent)["z"] == {"model": old}


@pytest.mark.parametrize("carrier", list(Carrier))
@pytest.mark.parametrize("model", [None, "same"])
def test_the_same_model_leaves_the_very_same_bytes(carrier: Carrier, model: str | None) -> None:
    """Nothing is parsed, built or copied: the object itself goes on."""
    raw = b'{"model" : "\\u0073ame"}'
    body = RequestBody(raw, carrier=carrier, model="same", length=len(raw))
    pieces, length = body.with_model(model)
    assert pieces[0] is raw and len(pieces) == 1 and length == len(raw)


@pytest.mark.parametrize("carrier", [Carrier.NONE, Carrier.PATH, Carrier.QUERY])
def test_a_body_that_does_not_carry_the_model_is_kept(carrier: Carrier) -> None:
    """The model in a path or a query is replaced there."""
    raw = b'{"model":"a"}'
    assert joined(RequestBody(raw, carrier=carrier, model="a", length=13), "b") == (raw, 13)


def test_a_body_without_a_model_is_kept() -> None:
    """There is nothing to replace."""
    assert joined(RequestBody(b'{"x":1}', carrier=Carrier.JSON, model=None, length=7), "b") == (b'{"x":1}', 7)


@given(st.lists(st.sampled_from(["a", "longer-name", "ü", "a"]), min_size=1, max_size=5))
def test_one_target_after_another(models: list[str]) -> None:
    """Each attempt starts from the body as it came, whatever the one before put in."""
    raw = bytearray(b'{"model":"a","x":{"model":"a"}}')
    body = RequestBody(raw, carrier=Carrier.JSON, model="a", length=len(raw))
    for model in models:
        sent, length = joined(body, model)
        assert sent == b'{"model":"%b","x":{"model":"a"}}' % model.encode()
        assert length == len(sent)
    assert raw == b'{"model":"a","x":{"model":"a"}}'


@given(NAMES, st.none() | st.integers(100, 10**12))
def test_a_form_counts_what_is_still_to_come(model: str, declared: int | None) -> None:
    """The length is the client's, moved by the difference; a chunked body has none. Nothing is escaped in a form."""

    async def rest() -> AsyncIterator[bytes]:
        yield b"..."

    body = RequestBody(
        b"..old..old..", carrier=Carrier.MULTIPART, model="old", spans=[(2, 5), (7, 10)], length=declared, rest=rest()
    )
    assert not body.replayable
    sent, length = joined(body, model)
    value = b"old" if model == "old" else model.encode()
    assert sent == b".." + value + b".." + value + b".."
    assert length == (None if declared is None else declared + 2 * (len(value) - 3))


def test_a_body_that_is_here_can_be_sent_again() -> None:
    """Only what streams through is gone after one attempt."""
    assert RequestBody(b"x", length=1).replayable


def test_a_compressed_body_goes_on_as_it_came_while_its_model_is_kept() -> None:
    """Kept: the packed bytes themselves. Replaced: the plain text with the new model, and its length."""
    plain, packed = b'{"model":"a","x":1}', b"packed bytes"
    body = RequestBody(plain, carrier=Carrier.JSON, model="a", length=len(plain), packed=packed)
    for kept in (None, "a"):
        assert not body.replaces(kept)
        assert body.with_model(kept) == ([packed], len(packed))
    assert body.replaces("bb")
    pieces, length = body.with_model("bb")
    assert b"".join(pieces) == b'{"model":"bb","x":1}'
    assert length == len(plain) + 1
