"""``fusebox k8s certs``: a CA and a certificate for the injector, as files for kustomize; their renewal and rotation."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.commands.parts import FINE, PROBLEMS, Commands
from proxy.commands.teaching import Teaching
from proxy.kube import cert_files as files
from proxy.kube.names import SYSTEM_NAMESPACE
from proxy.kube.webhooks import NAME

if TYPE_CHECKING:
    from proxy.kube.certs import Pair

SECRET_NAME = f"{NAME}-tls"

LACKS = "`fusebox k8s certs` needs the package cryptography: pip install 'llm-fusebox[kube]'"

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

_CA_DAYS, _LEAF_DAYS = 3650, 365

_LEAF_DAYS_MAX = 825
"""The longest that every TLS library takes. A shorter life is better, and costs one command."""


class Stopped(Exception):
    """It cannot go on; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for. `service`, `namespace`, `secret`: None when not said."""

    folder: Path
    service: str | None
    namespace: str | None
    secret: str | None
    days: int
    ca_days: int
    now: datetime


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "certs",
        help="make the injector's certificate and the caBundle, and rotate them",
        description="Make a CA and a certificate for the injector's Service, as files for kustomize: DIR is a component"
        " with the caBundle, which may be committed; DIR/private holds the Secret and the keys, which may not. With"
        " cert-manager in the cluster none of this is needed.",
        epilog="examples:\n"
        "  fusebox k8s certs --out certs                 the first time\n"
        "  fusebox k8s certs --out certs --renew         a new certificate of the same CA: only the Secret changes\n"
        "  fusebox k8s certs --out certs --rotate        a new CA; both are trusted\n"
        "  fusebox k8s certs --out certs --finish        only the new one is",
        formatter_class=Teaching,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write, or to renew")
    parser.add_argument(
        "--namespace", type=_label, metavar="NAME", help=f"where the injector runs ({SYSTEM_NAMESPACE})"
    )
    parser.add_argument("--service", type=_label, metavar="NAME", help=f"its Service ({NAME})")
    parser.add_argument("--secret", type=_label, metavar="NAME", help=f"its Secret ({SECRET_NAME})")
    parser.add_argument(
        "--days",
        type=_days(_LEAF_DAYS_MAX),
        default=_LEAF_DAYS,
        metavar="N",
        help=f"the certificate's life ({_LEAF_DAYS})",
    )
    parser.add_argument(
        "--ca-days", type=_days(7300), default=_CA_DAYS, metavar="N", help=f"the CA's life ({_CA_DAYS})"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--renew", action="store_true", help="a new certificate of the CA that is there")
    what.add_argument("--rotate", action="store_true", help="a new CA and certificate; the old CA stays trusted")
    what.add_argument("--finish", action="store_true", help="end a rotation: the old CA is trusted no longer")
    parser.set_defaults(run=lambda chosen: run(chosen, parser))


def run(chosen: Namespace, parser: ArgumentParser, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> int:
    """0, or 1 when there is something in the way."""
    wanted = Wanted(chosen.out, chosen.service, chosen.namespace, chosen.secret, chosen.days, chosen.ca_days, now())
    try:
        # Imported here: it is an extra, and the other subcommands do without.
        from proxy.kube.certs import Broken
    except ImportError:
        print(f"fusebox: {LACKS}", file=sys.stderr)
        return PROBLEMS
    do = _renew if chosen.renew else _rotate if chosen.rotate else _finish if chosen.finish else _make
    try:
        print(do(wanted))
    except (Stopped, Broken) as error:
        print(f"fusebox: {error}", file=sys.stderr)
        return PROBLEMS
    except OSError as error:
        print(f"fusebox: {error.filename or wanted.folder}: {error.strerror}", file=sys.stderr)
        return PROBLEMS
    return FINE


def _make(wanted: Wanted) -> str:
    from proxy.kube.certs import dns_names, make_ca

    there = files.present(wanted.folder)
    if there:
        raise Stopped(
            f"{wanted.folder} holds {there[0]} already, and nothing is overwritten: --renew makes a new certificate,"
            " --rotate a new CA, another --out another folder"
        )
    service, namespace = wanted.service or NAME, wanted.namespace or SYSTEM_NAMESPACE
    ca = make_ca(service, namespace, wanted.now, wanted.ca_days)
    leaf = _issue(wanted, ca, dns_names(service, namespace), namespace)
    authority = {files.CA: ca.certificate, files.CA_KEY: ca.key}
    trusted = {files.BUNDLE: files.bundle(ca.certificate)}
    files.write(wanted.folder, {**files.around(), **authority, **trusted, **leaf})
    return "\n".join(
        [
            *_told(wanted.folder),
            "Next:",
            f"  list {wanted.folder} as the last of `components` in your overlay's kustomization.yaml, and apply it",
            f"  kubectl apply -k {wanted.folder / 'private'}",
            f"Keep {wanted.folder / 'private'} out of Git (a .gitignore does), and back it up where secrets are.",
        ]
    )


def _renew(wanted: Wanted) -> str:
    from proxy.kube.certs import Pair

    names, namespace = _standing(wanted)
    ca = Pair((wanted.folder / files.CA).read_bytes(), (wanted.folder / files.CA_KEY).read_bytes())
    files.write(wanted.folder, _issue(wanted, ca, names, namespace))
    return "\n".join(
        [
            *_told(wanted.folder),
            "Next:",
            f"  kubectl apply -k {wanted.folder / 'private'}",
            "The injector takes it up within a minute or two, when the kubelet has brought it; nothing is restarted.",
        ]
    )


def _rotate(wanted: Wanted) -> str:
    from proxy.kube.certs import make_ca

    names, namespace = _standing(wanted)
    if (wanted.folder / files.BEFORE).exists():
        raise Stopped(
            "a rotation is under way: end it with --finish, once every injector serves the new certificate (the metric"
            " fusebox_certificate_not_after_seconds tells)"
        )
    before = (wanted.folder / files.CA).read_bytes()
    ca = make_ca(names[0], namespace, wanted.now, wanted.ca_days)
    leaf = _issue(wanted, ca, names, namespace)
    # First what is trusted: whatever happens after that, both are.
    files.write(
        wanted.folder,
        {
            files.BUNDLE: files.bundle(ca.certificate, before),
            files.BEFORE: before,
            files.CA: ca.certificate,
            files.CA_KEY: ca.key,
            **leaf,
        },
    )
    return "\n".join(
        [
            *_told(wanted.folder),
            "Next, in this order:",
            "  1. apply your overlay: API servers trust the old CA and the new one",
            f"  2. kubectl apply -k {wanted.folder / 'private'}",
            "  3. wait until every injector serves the new certificate (fusebox_certificate_not_after_seconds, or the log"
            " line `certificate`)",
            f"  4. fusebox k8s certs --out {wanted.folder} --finish, and apply your overlay again",
        ]
    )


def _finish(wanted: Wanted) -> str:
    _standing(wanted)
    before = wanted.folder / files.BEFORE
    if not before.exists():
        raise Stopped("no rotation is under way: --rotate begins one")
    files.write(wanted.folder, {files.BUNDLE: files.bundle((wanted.folder / files.CA).read_bytes())})
    before.unlink()
    return "\n".join([*_told(wanted.folder), "Next:", "  apply your overlay: only this CA is trusted then"])


def _standing(wanted: Wanted) -> tuple[tuple[str, ...], str]:
    """The names of the certificate that is there, and its namespace. Raises Stopped, Broken, OSError."""
    from proxy.kube.certs import dns_names, names_of

    lacking = [name for name in (files.CA, files.LEAF, files.CA_KEY) if not (wanted.folder / name).exists()]
    if lacking:
        raise Stopped(f"{wanted.folder} lacks {', '.join(lacking)}: name the folder that `fusebox k8s certs` wrote")
    names = names_of((wanted.folder / files.LEAF).read_bytes())
    service, _, namespace = names[1].partition(".") if len(names) > 1 else ("", "", "")
    if names != dns_names(service, namespace):
        raise Stopped(f"{wanted.folder / files.LEAF} was not made here: make a new folder")
    for said, stands, option in ((wanted.service, service, "--service"), (wanted.namespace, namespace, "--namespace")):
        if said is not None and said != stands:
            raise Stopped(f"{wanted.folder} is for {names[2]}: leave {option} out, or make a new folder")
    return names, namespace


def _issue(wanted: Wanted, ca: Pair, names: tuple[str, ...], namespace: str) -> dict[str, bytes | str]:
    """The files of a new server certificate. Raises Broken."""
    from proxy.kube.certs import make_leaf

    leaf = make_leaf(ca, names, wanted.now, wanted.days)
    manifest = wanted.folder / files.SECRET
    stands = files.secret_name(manifest.read_text()) if manifest.exists() else None
    made = files.secret(wanted.secret or stands or SECRET_NAME, namespace, leaf.certificate, leaf.key)
    return {files.SECRET: made, files.LEAF: leaf.certificate}


def _told(folder: Path) -> list[str]:
    from proxy.kube.certs import names_of, valid_until

    ca, leaf = ((folder / name).read_bytes() for name in (files.CA, files.LEAF))
    trusted = " (the one before it is trusted, too)" if (folder / files.BEFORE).exists() else ""
    return [
        f"{folder / files.CA}: valid until {valid_until(ca):%Y-%m-%d}{trusted}",
        f"{folder / files.LEAF}: valid until {valid_until(leaf):%Y-%m-%d}, for {', '.join(names_of(leaf))}",
    ]


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} is no name of Kubernetes: small letters, digits and -, at most 63")
    return text


def _days(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise ArgumentTypeError(f"{text!r}: write a number of days from 1 to {most}")
        return int(text)

    return read
