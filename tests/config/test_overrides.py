"""What the command line says in place of the file, at the start and after reloads."""

from __future__ import annotations

import pytest

from proxy.config.overrides import NONE, Overrides
from proxy.config.parse import parse_document
from proxy.config.units import Listen, Seconds

FILE = """
listen: 127.0.0.1:7000
admin: 127.0.0.1:7001
drain: 5m
log: {level: warning, sample: 0.5}
providers: {demo: {}}
routes: [{name: a, match: {}, to: [demo]}]
"""


def test_without_any_everything_is_as_the_file_has_it() -> None:
    """The same value."""
    document = parse_document(FILE)
    assert document.with_overrides(NONE) == document


def test_each_takes_the_place_of_one_value() -> None:
    """The rest stays, beside it too."""
    document = parse_document(FILE)
    overrides = Overrides(Listen("127.0.0.1", 4010), Listen("*", 4011), Seconds(0), "debug")
    config = document.with_overrides(overrides).config
    assert (config.listen, config.admin, config.drain) == (Listen("127.0.0.1", 4010), Listen("*", 4011), Seconds(0))
    assert (config.log.level, config.log.sample) == ("debug", 0.5)
    assert config.routes == document.config.routes
    assert Overrides(drain=Seconds(1)).on(document.config).listen == Listen("127.0.0.1", 7000)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("*:4011", ("0.0.0.0", "::")),
        ("localhost:1", ("127.0.0.1", "::1")),
        ("0.0.0.0:1", ("0.0.0.0",)),
        ("[::]:1", ("::",)),
    ],
)
def test_addresses_of_both_families(text: str, hosts: tuple[str, ...]) -> None:
    """A star is every address there is: a pod's may be of either family."""
    address = Listen.parse(text)
    assert address.hosts == hosts and str(address) == text


@pytest.mark.parametrize("text", ["*.example:1", "**:1", "[*]:1", "*"])
def test_a_star_stands_alone(text: str) -> None:
    """It is no pattern."""
    with pytest.raises(ValueError, match="not an address to listen on"):
        Listen.parse(text)
