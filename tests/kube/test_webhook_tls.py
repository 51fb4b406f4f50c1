"""The injector's certificate: verified as an API server verifies it, waited for, and rotated without a failed handshake."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.certs import Pair, make_ca, make_leaf
from proxy.kube.pem import first_certificate
from proxy.kube.tls_files import TlsFiles
from tests.kube.injecting import (
    HANG_S,
    HOST,
    MountedSecret,
    authority,
    close,
    injector,
    leaf,
    pod,
    process,
    question,
    trust,
)

CA = authority()
LEAF = leaf(CA)


@pytest.fixture
def secret(tmp_path: Path) -> MountedSecret:
    """A mounted Secret with nothing in it yet."""
    return MountedSecret(tmp_path / "tls")


@pytest.mark.parametrize("days", [1, 400, 30_000])
def test_what_a_certificate_says_of_itself(days: int) -> None:
    """The few lines that read a date agree with the library; from 2050 on it is written in another form."""
    ca = make_ca("s", "n", datetime.now(UTC), 40_000)
    made = make_leaf(ca, ("s.n.svc",), datetime.now(UTC), days)
    told = first_certificate((made.certificate + ca.certificate).decode())
    other = x509.load_pem_x509_certificate(made.certificate)
    assert told.not_after_s == other.not_valid_after_utc.timestamp()
    assert told.not_before_s == other.not_valid_before_utc.timestamp()


@given(st.binary(max_size=300))
def test_no_certificate(der: bytes) -> None:
    """Whatever stands between the lines, reading it ends in a date or in an error that quotes nothing."""
    for raw in (der, ssl.PEM_cert_to_DER_cert(LEAF.certificate.decode())[: len(der)]):
        try:
            told = first_certificate(ssl.DER_cert_to_PEM_cert(raw))
        except ValueError as error:
            assert str(error) in ("holds a certificate that cannot be read", "holds no certificate in PEM form")
        else:
            assert told.not_after_s > told.not_before_s - 1e12


def test_a_bad_pair_never_takes_the_place_of_a_good_one(secret: MountedSecret) -> None:
    """What is wrong is said once, and the last good certificate stays."""
    files = TlsFiles(*secret.files)
    missing = files.look()
    assert missing is not None and "tls.crt is not there" in missing.problem and files.look() is None
    secret.put_pair(LEAF)
    first = files.look()
    assert first is not None and first.certificate is files.current is not None
    assert files.look() is None
    other = leaf(CA)
    key = serialization.load_pem_private_key(other.key, None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    bad = {
        "is not that of the certificate": (other.certificate, LEAF.key),
        "holds no certificate": (b"nothing", LEAF.key),
        "write both in PEM form": (other.certificate, b"nothing"),
        "is encrypted": (other.certificate, encrypted),
        "is larger than": (other.certificate, b"x" * 300_000),
    }
    for said, pair in bad.items():
        secret.put(*pair)
        change = files.look()
        assert change is not None and said in change.problem and change.certificate is None
        assert files.look() is None and files.current is first.certificate
    secret.put_pair(other)
    last = files.look()
    assert last is not None and last.certificate is files.current is not first.certificate
    assert (files.loads, files.failures) == (2, 1 + len(bad))


async def test_the_name_and_the_bundle_are_verified(secret: MountedSecret) -> None:
    """With the caBundle and the Service's name a client is content; with another CA or name it is not."""
    secret.put_pair(LEAF)
    async with injector(secret) as running:
        assert (await running.ask(trust(CA), question(pod())))["allowed"] is True
        with pytest.raises(ssl.SSLCertVerificationError):
            await running.ask(trust(authority()), question(pod()))
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", running.port, ssl=trust(CA), server_hostname="other.svc")
        old = trust(CA)
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
        assert (await running.ask(old, question(pod())))["allowed"] is True


async def test_a_certificate_is_waited_for(secret: MountedSecret) -> None:
    """Until it is there the port is closed, and readiness and log say why."""
    async with injector(secret) as running:
        missing = await running.logged("certificate_missing")
        assert "tls.crt is not there" in missing[0]["error"]
        assert await running.get("/readyz") == (503, "no certificate yet\n")
        assert await running.get("/livez") == (200, "ok\n")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", running.port)
        secret.put_pair(LEAF)
        await running.logged("ready")
        assert await running.get("/readyz") == (200, "ready\n")
        assert (await running.ask(trust(CA), question(pod())))["allowed"] is True


async def test_readiness_ends_with_the_certificate(secret: MountedSecret) -> None:
    """With an expired one every handshake fails: the replica is of no use until it has another."""
    long_ago = datetime.now(UTC) - timedelta(days=9)
    ca = make_ca("s", "n", long_ago, 100)
    secret.put_pair(make_leaf(ca, (HOST,), long_ago, 8))
    async with injector(secret) as running:
        status, text = await running.get("/readyz")
        assert status == 503 and "the certificate ended at" in text
        good = make_leaf(ca, (HOST,), datetime.now(UTC), 8)
        secret.put_pair(good)
        await running.logged("certificate", 2)
        assert await running.get("/readyz") == (200, "ready\n")
        told = (await running.numbers())["fusebox_certificate_not_after_seconds"]
        assert told == x509.load_pem_x509_certificate(good.certificate).not_valid_after_utc.timestamp()


@pytest.mark.parametrize("kind", ["process", "here"])
async def test_rotation_under_a_stream_of_admissions(secret: MountedSecret, kind: str) -> None:
    """The certificate changes, its CA too, and once the files are half written: no handshake fails, no question is lost.

    The process runs on uvloop, the other on asyncio's own loop: their TLS is not the same code.
    """
    other = authority()
    pairs = [leaf(CA), leaf(other), leaf(CA), leaf(other)]
    secret.put_pair(LEAF)
    async with process(secret) if kind == "process" else injector(secret) as running:
        await running.logged("ready")
        seen = Counter[str]()
        context, over = trust(CA, other), asyncio.Event()

        async def keep_asking() -> None:
            while not over.is_set():
                _, writer = await running.connect(context)
                seen[writer.get_extra_info("peercert")["serialNumber"]] += 1
                running.changes.tell()
                await close(writer)
                assert (await running.ask(context, question(pod())))["allowed"] is True

        async with asyncio.timeout(HANG_S):
            asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
            for count, pair in enumerate(pairs, 2):
                secret.put(pair.certificate, LEAF.key)  # half of a rotation
                await running.logged("certificate_bad", count - 1)
                secret.put_pair(pair)
                await running.logged("certificate", count)
                await running.changes.until(lambda: seen[serial(pair)] > 0)  # noqa: B023
            over.set()
            await asyncio.gather(*asking)
        assert set(seen) == {serial(pair) for pair in (LEAF, *pairs)}
        numbers = await running.numbers()
        assert numbers["fusebox_certificate_loads_total"] == 5 and numbers["fusebox_certificate_failures_total"] == 4


def serial(pair: Pair) -> str:
    """As Python's ssl writes it."""
    number = f"{x509.load_pem_x509_certificate(pair.certificate).serial_number:X}"
    return number if len(number) % 2 == 0 else f"0{number}"
