"""``fusebox k8s certs``: certificates that an API server takes, files for kustomize, renewal and rotation."""

from __future__ import annotations

import base64
import shutil
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from proxy.cli import main
from proxy.kube.certs import Broken, make_ca, make_leaf
from tests.kube.injecting import HOST

NAMES = ("fusebox-injector", "fusebox-injector.fusebox-system", HOST, f"{HOST}.cluster.local")

Run = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files are to be."""
    return tmp_path / "certs"


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command, sees that it ends with the code, that no key is told, and gives what it said."""

    def ran(*arguments: str, code: int = 0) -> str:
        assert main(["k8s", "certs", "--out", str(folder), *arguments]) == code
        told = capsys.readouterr()
        said = told.out + told.err
        assert (told.err == "") is (code == 0) and "PRIVATE" not in said
        for path in (folder / "private").glob("*"):
            assert not any(line in said for line in path.read_text().splitlines() if len(line) > 60)
        return said

    return ran


def secret(folder: Path) -> dict[str, Any]:
    """The Secret."""
    found: dict[str, Any] = yaml.safe_load((folder / "private" / "secret.yaml").read_text())
    return found


def bundle(folder: Path) -> str:
    """The caBundle, PEM."""
    told = yaml.safe_load((folder / "ca-bundle.yaml").read_text())["data"]["caBundle"]
    return base64.b64decode(told, validate=True).decode()


def certificate(pem: str | bytes) -> x509.Certificate:
    """Parsed."""
    return x509.load_pem_x509_certificate(pem.encode() if isinstance(pem, str) else pem)


def served(folder: Path) -> tuple[bytes, bytes]:
    """Certificate and key in the Secret."""
    data = secret(folder)["data"]
    return base64.b64decode(data["tls.crt"]), base64.b64decode(data["tls.key"])


def greet(bundle_pem: str, pair: tuple[bytes, bytes], tmp_path: Path, name: str = HOST) -> None:
    """A whole handshake in memory, by the strictest rules that Python has. Raises SSLError."""
    for part, raw in zip(("crt", "key"), pair, strict=True):
        (tmp_path / f"served.{part}").write_bytes(raw)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "served.crt", tmp_path / "served.key")
    client_side = ssl.create_default_context(cadata=bundle_pem)
    client_side.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass  # the other side's turn
    assert client.getpeercert()


def test_what_is_written(run: Run, folder: Path, tmp_path: Path) -> None:
    """A CA for ten years, a certificate for one and for every name of the Service; keys for the owner's eyes alone."""
    said = run()
    ca, leaf = certificate(bundle(folder)), certificate(served(folder)[0])
    now = datetime.now(UTC)
    assert timedelta(days=3649) < ca.not_valid_after_utc - now <= timedelta(days=3650)
    assert timedelta(days=364) < leaf.not_valid_after_utc - now <= timedelta(days=365)
    assert leaf.not_valid_before_utc < now - timedelta(minutes=30)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert tuple(names) == NAMES
    leaf.verify_directly_issued_by(ca)
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and constraints.value.ca and constraints.value.path_length == 0
    for name in NAMES:
        greet(bundle(folder), served(folder), tmp_path, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        greet(bundle(folder), served(folder), tmp_path, "other.fusebox-system.svc")
    found = secret(folder)
    assert found["type"] == "kubernetes.io/tls" and set(found["data"]) == {"tls.crt", "tls.key"}
    assert (found["metadata"]["name"], found["metadata"]["namespace"]) == ("fusebox-injector-tls", "fusebox-system")
    private = folder / "private"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert {path.name for path in private.iterdir()} == {"ca.key", "secret.yaml", "kustomization.yaml"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in private.iterdir())
    public = [path for path in folder.iterdir() if path.is_file()]
    assert not any("PRIVATE KEY" in path.read_text() or "tls.key" in path.read_text() for path in public)
    assert (folder / ".gitignore").read_text().splitlines()[-1] == "private/"
    assert HOST in said and "kubectl apply -k" in said


def test_options(run: Run, folder: Path) -> None:
    """Another Service, namespace, Secret; other lifetimes; the certificate never outlives its CA."""
    run("--namespace", "fusebox", "--service", "hook", "--secret", "hook-cert", "--days", "90", "--ca-days", "30")
    leaf, ca = certificate(served(folder)[0]), certificate(bundle(folder))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert names == ["hook", "hook.fusebox", "hook.fusebox.svc", "hook.fusebox.svc.cluster.local"]
    assert leaf.not_valid_after_utc == ca.not_valid_after_utc
    assert secret(folder)["metadata"]["namespace"] == "fusebox"
    run("--renew", "--days", "10")
    assert secret(folder)["metadata"]["name"] == "hook-cert"
    said = run("--renew", "--namespace", "other", code=1)
    assert "is for hook.fusebox.svc" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["--days", "0"],
        ["--days", "826"],
        ["--days", "x"],
        ["--ca-days", "9999"],
        ["--namespace", "Fusebox"],
        ["--service", "a/b"],
        ["--service", "a" * 64],
        ["--rotate", "--finish"],
    ],
)
def test_wrong_options(arguments: list[str], folder: Path) -> None:
    """Exit code 2, and nothing is written."""
    with pytest.raises(SystemExit) as stopped:
        main(["k8s", "certs", "--out", str(folder), *arguments])
    assert stopped.value.code == 2 and not folder.exists()


def test_nothing_is_overwritten(run: Run, folder: Path) -> None:
    """Not even what only looks as if it had been made here."""
    run()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "nothing is overwritten" in run(code=1)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    other = folder.parent / "other"
    other.mkdir()
    (other / "kustomization.yaml").write_text("resources: []\n")
    assert main(["k8s", "certs", "--out", str(other)]) == 1
    assert [path.name for path in other.iterdir()] == ["kustomization.yaml"]


def test_renewal(run: Run, folder: Path, tmp_path: Path) -> None:
    """Another certificate of the same CA: only private files and the copy of the certificate change."""
    run()
    old, trusted, ca_key = served(folder), bundle(folder), (folder / "private" / "ca.key").read_bytes()
    run("--renew", "--days", "100")
    new = served(folder)
    assert new[0] != old[0] and new[1] != old[1]
    assert bundle(folder) == trusted and (folder / "private" / "ca.key").read_bytes() == ca_key
    assert (folder / "tls.crt").read_bytes() == new[0]
    for pair in (old, new):
        greet(trusted, pair, tmp_path)


def test_rotation_overlaps(run: Run, folder: Path, tmp_path: Path) -> None:
    """Until it is finished both CAs are trusted, so that it does not matter what arrives first; then only the new one."""
    run()
    old, old_bundle = served(folder), bundle(folder)
    assert "no rotation is under way" in run("--finish", code=1)
    said = run("--rotate")
    assert "1. apply your overlay" in said and "--finish" in said
    new, both = served(folder), bundle(folder)
    assert both.count("BEGIN CERTIFICATE") == 2 and old_bundle in both
    for pair in (old, new):
        greet(both, pair, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        greet(old_bundle, new, tmp_path)
    assert "a rotation is under way" in run("--rotate", code=1)
    assert bundle(folder) == both and served(folder) == new
    run("--renew")
    greet(both, served(folder), tmp_path)
    run("--finish")
    assert bundle(folder).count("BEGIN CERTIFICATE") == 1 and not (folder / "ca-before.crt").exists()
    greet(bundle(folder), new, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        greet(bundle(folder), old, tmp_path)
    assert "no rotation is under way" in run("--finish", code=1)


def test_a_folder_that_was_not_made_here(run: Run, folder: Path) -> None:
    """Each says what is wrong with it."""
    for what in ("--renew", "--rotate", "--finish"):
        assert "lacks ca.crt, tls.crt, private/ca.key" in run(what, code=1)
    assert not folder.exists()
    run()
    (folder / "private" / "ca.key").write_text("nothing")
    assert "no key in PEM form" in run("--renew", code=1)
    ca = make_ca("s", "n", datetime.now(UTC), 5)
    (folder / "private" / "ca.key").write_bytes(ca.key)
    assert "not that of its certificate" in run("--renew", code=1)
    (folder / "tls.crt").write_bytes(make_leaf(ca, ("x.dev",), datetime.now(UTC), 5).certificate)
    assert "was not made here" in run("--rotate", code=1)
    (folder / "tls.crt").write_text("nothing")
    assert "no certificate in PEM form" in run("--rotate", code=1)


def test_a_ca_whose_time_is_over() -> None:
    """It can issue nothing any more."""
    long_ago = datetime.now(UTC) - timedelta(days=20)
    with pytest.raises(Broken, match="--rotate"):
        make_leaf(make_ca("s", "n", long_ago, 10), ("s",), datetime.now(UTC), 5)


def test_a_full_disk_leaves_the_old_files(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is written before anything is replaced."""
    run()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    left = iter(range(2))

    def fsync(_: int) -> None:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fsync)
    assert "No space left on device" in run("--rotate", code=1)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_key_is_not_shown_by_accident() -> None:
    """As in a failing test's output."""
    assert "PRIVATE" not in repr(make_ca("s", "n", datetime.now(UTC), 5))


def test_without_the_extra(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and nothing is written."""
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.delitem(sys.modules, "proxy.kube.certs")
    assert "llm-fusebox[kube]" in run(code=1) and not folder.exists()


def test_the_server_does_without_the_extra() -> None:
    """The image has no need of the package."""
    code = "import sys, proxy.kube.injector, proxy.commands.k8s_webhook as w; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")
def test_kustomize_puts_the_bundle_into_every_webhook(run: Run, folder: Path, tmp_path: Path) -> None:
    """Whatever their names and number; the object that brings it is not applied itself."""
    run("--namespace", "fusebox")
    service = {"name": "x", "namespace": "y"}
    for kind, count in (("MutatingWebhookConfiguration", 2), ("ValidatingWebhookConfiguration", 1)):
        webhooks = [{"name": f"w{number}.x.dev", "clientConfig": {"service": service}} for number in range(count)]
        found = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": "z"},
            "webhooks": webhooks,
        }
        (tmp_path / f"{kind}.yaml").write_text(yaml.safe_dump(found))
    resources = ["MutatingWebhookConfiguration.yaml", "ValidatingWebhookConfiguration.yaml", "certs/private"]
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": resources, "components": ["certs"], "namePrefix": "a-"})
    )
    done = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    rendered = list(yaml.safe_load_all(done.stdout))
    assert sorted(one["kind"] for one in rendered) == [
        "MutatingWebhookConfiguration",
        "Secret",
        "ValidatingWebhookConfiguration",
    ]
    bundles = [hook["clientConfig"]["caBundle"] for one in rendered for hook in one.get("webhooks", [])]
    assert len(bundles) == 3 and {base64.b64decode(one).decode() for one in bundles} == {bundle(folder)}
