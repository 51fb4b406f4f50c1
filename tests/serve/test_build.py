"""Building: pools and trust stores are shared between configurations as far as they are the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from proxy.config.schema import Config, Provider
from proxy.serve.build import CannotStart, Pools, Trust
from proxy.upstream.dial import Origin
from proxy.upstream.egress import Egress

HTTP, HTTPS = Origin("http", "h.test", 80), Origin("https", "h.test", 443)


def trusting(*files: Path | None, scheme: str = "https") -> Config:
    """A configuration whose providers trust these files."""
    providers = {
        f"p{number}": Provider(base_url=f"{scheme}://h.test/v1", ca=None if file is None else str(file))
        for number, file in enumerate(files)
    }
    return Config(providers=providers, routes=())


def authority(path: Path) -> Path:
    """Write a new certificate."""
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


def test_a_trust_store_lives_as_long_as_its_file_is_the_same(tmp_path: Path) -> None:
    """Its content counts; the system's is read once."""
    one, two, trust = authority(tmp_path / "one"), authority(tmp_path / "two"), Trust()
    first = trust.of(trusting(one, two, None))
    assert first.keys() == {str(one), str(two), None} and len(set(first.values())) == 3
    one.write_bytes(one.read_bytes())
    assert trust.of(trusting(one, two, None)) == first
    authority(one)
    second = trust.of(trusting(one, two, None))
    assert second[str(one)] is not first[str(one)]
    assert (second[str(two)], second[None]) == (first[str(two)], first[None])


def test_no_trust_is_asked_for_without_tls(tmp_path: Path) -> None:
    """A file that nobody needs may be missing."""
    assert Trust().of(trusting(tmp_path / "absent", None, scheme="http")) == {}


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_that_cannot_be_used(tmp_path: Path, content: bytes | None) -> None:
    """It is named, with the reason; the next one that can be is used."""
    path, trust = tmp_path / "ca.pem", Trust()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CannotStart, match=r"the CA file .*ca\.pem cannot be used: ") as caught:
        trust.of(trusting(path))
    assert str(caught.value).count("ca.pem") == 1
    authority(path)
    assert list(trust.of(trusting(path))) == [str(path)]


async def test_pools_are_shared_and_those_unused_closed(tmp_path: Path) -> None:
    """By origin and trust store. A draft that is dropped changes nothing."""
    file, trust, pools = authority(tmp_path / "ca"), Trust(), Pools(Egress({}))
    context = trust.of(trusting(file, None))
    draft = pools.draft(context)
    plain, secure, system = draft.get(HTTP, str(file)), draft.get(HTTPS, str(file)), draft.get(HTTPS, None)
    assert len({plain, secure, system}) == 3 and draft.get(HTTP, None) is plain
    pools.adopt(draft)
    dropped = pools.draft(context)
    assert dropped.get(HTTPS, None) is system
    assert not system._closed and not plain._closed
    authority(file)
    other = pools.draft(trust.of(trusting(file, None)))
    assert other.get(HTTP, None) is plain and other.get(HTTPS, str(file)) is not secure
    pools.adopt(other)
    assert (plain._closed, secure._closed, system._closed) == (False, True, True)
    pools.close()
    assert plain._closed
