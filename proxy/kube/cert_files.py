"""The folder that ``fusebox k8s certs`` keeps: what may be committed, and what may not.

    DIR/kustomization.yaml      a Component: copies the caBundle into every webhook of what it is applied to
    DIR/ca-bundle.yaml          the caBundle: the CA, and while one is being rotated the one before it
    DIR/ca.crt, tls.crt         the same certificates, for people and tools
    DIR/ca-before.crt           only while a rotation is under way
    DIR/.gitignore              keeps private/ out of Git
    DIR/private/ca.key          to issue the next server certificate
    DIR/private/secret.yaml     the Secret with the server's certificate and key, for `kubectl apply -k DIR/private`
    DIR/private/kustomization.yaml

Each file of private/ is readable by its owner alone.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from pathlib import Path

CA, LEAF, BEFORE = "ca.crt", "tls.crt", "ca-before.crt"
CA_KEY, SECRET = "private/ca.key", "private/secret.yaml"
BUNDLE, COMPONENT, IGNORE, PRIVATE = "ca-bundle.yaml", "kustomization.yaml", ".gitignore", "private/kustomization.yaml"

_COMPONENT = """\
# Copies the CA into every webhook of the overlay that lists this folder under `components`: as the last one there, so
# that all webhooks are there before it. Nothing here is secret.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources: [ca-bundle.yaml]
replacements:
  - source: {kind: ConfigMap, name: fusebox-ca-bundle, fieldPath: data.caBundle}
    targets:
      - select: {kind: MutatingWebhookConfiguration}
        fieldPaths: [webhooks.*.clientConfig.caBundle]
        options: {create: true}
      - select: {kind: ValidatingWebhookConfiguration}
        fieldPaths: [webhooks.*.clientConfig.caBundle]
        options: {create: true}
"""

_BUNDLE = """\
# base64 of the certificates that API servers trust. The annotation keeps this object itself out of what is applied.
apiVersion: v1
kind: ConfigMap
metadata:
  name: fusebox-ca-bundle
  annotations:
    config.kubernetes.io/local-config: "true"
data:
  caBundle: {bundle}
"""

_MANIFEST = """\
# Holds a private key: keep it out of Git, or seal it.
apiVersion: v1
kind: Secret
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    app.kubernetes.io/name: fusebox-injector
    app.kubernetes.io/part-of: fusebox
type: kubernetes.io/tls
data:
  tls.crt: {certificate}
  tls.key: {key}
"""

_PRIVATE = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [secret.yaml]
"""


def bundle(*authorities: bytes) -> str:
    """``ca-bundle.yaml`` with these certificates, PEM, the newest first."""
    return _BUNDLE.format(bundle=base64.b64encode(b"".join(authorities)).decode())


def secret(name: str, namespace: str, certificate: bytes, key: bytes) -> str:
    """``secret.yaml`` with the server's certificate and key, PEM."""
    told = {"certificate": base64.b64encode(certificate).decode(), "key": base64.b64encode(key).decode()}
    return _MANIFEST.format(name=name, namespace=namespace, **told)


def secret_name(manifest: str) -> str | None:
    """The name in a ``secret.yaml`` that was written here; None: it is another's."""
    found = re.search(r"^metadata:\n  name: (\S+)$", manifest, re.MULTILINE)
    return None if found is None else found[1]


def around() -> dict[str, str]:
    """The files that are the same for everybody."""
    return {COMPONENT: _COMPONENT, PRIVATE: _PRIVATE, IGNORE: "# Private keys.\nprivate/\n"}


def present(folder: Path) -> list[str]:
    """Which of the files in the table above are there."""
    known = (CA, LEAF, BEFORE, CA_KEY, SECRET, BUNDLE, COMPONENT, IGNORE, PRIVATE)
    return [name for name in known if os.path.lexists(folder / name)]


def write(folder: Path, files: Mapping[str, bytes | str]) -> None:
    """Write `files`, by name, in place of those that are there. Raises OSError; then all are as they were, or nearly so.

    All are written beside their places first, so that a full disk leaves the old ones as they were.
    """
    private = folder / "private"
    folder.mkdir(parents=True, exist_ok=True)
    private.mkdir(mode=0o700, exist_ok=True)
    private.chmod(0o700)
    written: list[tuple[Path, Path]] = []
    try:
        for name, content in files.items():
            place = folder / name
            new = place.with_name(f".{place.name}.new")
            new.unlink(missing_ok=True)
            written.append((new, place))
            # O_EXCL: no link that somebody put there is followed, and the mode counts from the first byte on.
            mode = 0o600 if place.parent == private else 0o644
            with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
        for new, place in written:
            new.replace(place)
    finally:
        for new, _ in written:
            new.unlink(missing_ok=True)
