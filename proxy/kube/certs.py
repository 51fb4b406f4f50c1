"""A certification authority for one webhook, and the server's certificate: made here, for clusters without cert-manager.

Elliptic curve keys (P-256), which every API server takes. The only room that needs the package ``cryptography``: making
certificates is for people who set up a cluster, the image runs without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

EARLIER = timedelta(hours=1)
"""How long before now a certificate begins: clocks differ."""


class Broken(Exception):
    """What should be a certificate or a key is none; the text never holds it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, PEM. The key is not shown, not even by accident."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "<Pair of certificate and key>"


def dns_names(service: str, namespace: str) -> tuple[str, ...]:
    """Every name by which a Service is reached inside its cluster; API servers use ``SERVICE.NAMESPACE.svc``."""
    return tuple(
        f"{service}{end}" for end in ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")
    )


def make_ca(service: str, namespace: str, now: datetime, days: int) -> Pair:
    """A new authority. It may issue servers' certificates only, and no further authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    # The time keeps two authorities of one Service apart: while both are trusted, their names must not be the same.
    name = _name(f"{service}.{namespace} CA {now:%Y%m%d%H%M%S}"[-64:])
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    certificate = (
        _builder(name, name, public, now, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def make_leaf(ca: Pair, names: tuple[str, ...], now: datetime, days: int) -> Pair:
    """A server's certificate for `names`, issued by `ca`, with a new key. It ends with `ca` at the latest. Raises Broken."""
    issuer, issuer_key = _loaded(ca)
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + timedelta(days=days), issuer.not_valid_after_utc)
    if end <= now:
        raise Broken("the CA's own time is over; make a new one with --rotate")
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(_name(names[0][:64]), issuer.subject, key.public_key(), now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return _pair(certificate, key)


def names_of(certificate: bytes) -> tuple[str, ...]:
    """The DNS names in a certificate, in its order. Raises Broken."""
    try:
        found = _certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        raise Broken("the certificate names no host") from None
    return tuple(found.value.get_values_for_type(x509.DNSName))


def valid_until(certificate: bytes) -> datetime:
    """When a certificate ends, UTC. Raises Broken."""
    return _certificate(certificate).not_valid_after_utc


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - EARLIER)
        .not_valid_after(end)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "llm-fusebox"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise Broken("it is no certificate in PEM form") from None


def _loaded(ca: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate = _certificate(ca.certificate)
    try:
        key = serialization.load_pem_private_key(ca.key, password=None)
    except (ValueError, TypeError):
        raise Broken("the CA's key is no key in PEM form without a passphrase") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise Broken("the CA's key is not that of its certificate")
    return certificate, key
