"""A look into a body: taken when it is asked for, once, and the same whoever asks first."""

from __future__ import annotations

import json

import pytest

from proxy.config.schema import Complexity
from proxy.exchange import Carrier, Endpoint, Format, Look
from proxy.policy import look as room
from proxy.policy.look import BodyLook
from proxy.policy.prompt import Body, Reading, read

CHAT = Endpoint("chat.completions", Format.OPENAI, Carrier.JSON, inference=True)
BODY = b'{"messages": [{"role": "user", "content": "hi"}]}'


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the bodies that have been read."""
    sizes: list[int] = []

    def counted(body: Body, endpoint: Endpoint) -> Reading:
        sizes.append(len(body))
        return read(body, endpoint)

    monkeypatch.setattr(room, "read", counted)
    return sizes


def test_nothing_is_read_before_it_is_asked_for(readings: list[int]) -> None:
    """The size is known without a look; what nobody asked for is not there."""
    look = BodyLook(BODY, CHAT, Complexity())
    assert (look.size, look.seen, look.classed) == (49, None, None)
    assert readings == []


def test_a_look_is_taken_once(readings: list[int]) -> None:
    """What was read is kept, for the class too."""
    look = BodyLook(BODY, CHAT, Complexity())
    first = look.prompt
    assert look.seen is first is look.prompt
    assert look.classed is None
    assert look.complexity == "simple" == look.classed
    assert look.assessment is look.assessment
    assert readings == [49]


def test_the_class_first(readings: list[int]) -> None:
    """Who asks for the class has read the prompt as well."""
    look = BodyLook(BODY, CHAT, Complexity())
    assert look.complexity == look.assessment.complexity == "simple"
    assert look.seen is look.prompt
    assert readings == [49]


def test_the_policy_s_settings_hold() -> None:
    """The class goes by the settings that the look was made with."""
    assert BodyLook(BODY, CHAT, Complexity(simple_below=0, complex_from=0)).complexity == "complex"


def test_it_is_what_the_policy_asks() -> None:
    """A body held as a bytearray looks as one of bytes, and may be changed again after the look."""
    held = bytearray(json.dumps({"messages": [{"role": "user", "content": "Größe " * 9000}]}).encode())
    look: Look = BodyLook(held, CHAT, Complexity())
    assert look.prompt == BodyLook(bytes(held), CHAT, Complexity()).prompt
    held.clear()
    assert held == b""
