"""``fusebox k8s webhook``: the server that injects the sidecar into new pods, and proves policies."""

from __future__ import annotations

import gc
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from proxy.commands.k8s_options import add_settings, settings_of
from proxy.commands.parts import PROBLEMS, Commands
from proxy.commands.serve import run_serving
from proxy.commands.teaching import Teaching
from proxy.config.units import Seconds

LISTEN, ADMIN = ":10250", ":4011"
"""10250, because the firewalls of private clusters let their API server through to it (the kubelet has it, on nodes)."""

CERTIFICATE, KEY = Path("/var/run/fusebox/tls/tls.crt"), Path("/var/run/fusebox/tls/tls.key")
POLL_MIN_S = 0.05

SWITCH_S = 0.0005
"""How long a thread may keep the interpreter from another one. While a policy is being proved on a thread, each step of a
question about a pod waits for so long; at Python's default of 5 ms, fifty at once take ten times as long."""


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "webhook",
        help="run the server that injects the sidecar into new pods",
        description="Answer the API server's questions about new pods (/mutate) and about ConfigMaps with policies"
        " (/validate-policy), over TLS. It needs no rights in the cluster. A certificate that is not there yet is waited"
        " for, a new one is taken up while it runs (SIGHUP: now). SIGTERM lets running answers finish; a second one stops"
        " at once.",
        epilog="example:\n"
        "  fusebox k8s webhook --tls-cert tls/tls.crt --tls-key tls/tls.key --image registry.example/llm-fusebox@sha256:...",
        formatter_class=Teaching,
    )
    parser.add_argument(
        "--listen", type=_address, default=LISTEN, metavar="HOST:PORT", help=f"for the API server, TLS ({LISTEN})"
    )
    parser.add_argument(
        "--admin", type=_address, default=ADMIN, metavar="HOST:PORT", help=f"probes and metrics, without TLS ({ADMIN})"
    )
    parser.add_argument(
        "--tls-cert",
        type=Path,
        default=CERTIFICATE,
        metavar="FILE",
        help=f"PEM, the server's own first ({CERTIFICATE})",
    )
    parser.add_argument("--tls-key", type=Path, default=KEY, metavar="FILE", help=f"PEM, no passphrase ({KEY})")
    parser.add_argument("--tls-poll", type=_time, default="2s", metavar="TIME", help="between two looks at them (2s)")
    parser.add_argument(
        "--linger", type=_time, default="3s", metavar="TIME", help="go on answering for so long after SIGTERM (3s)"
    )
    parser.add_argument(
        "--drain", type=_time, default="5s", metavar="TIME", help="answers under way may take so long (5s)"
    )
    parser.add_argument("--debug", action="store_true", help="log requests that are no admissions, too")
    add_settings(parser)
    parser.set_defaults(run=lambda chosen: run(chosen, parser))


def run(chosen: Namespace, parser: ArgumentParser) -> int:
    """Serve until a signal ends it: 0 then; 1 when an address is taken."""
    settings = settings_of(chosen, parser)
    if chosen.tls_poll < POLL_MIN_S:
        parser.error(f"argument --tls-poll: write {POLL_MIN_S * 1000:g}ms or more")
    # Imported after the options were found to be good: `--help` and mistakes need no server.
    from proxy.kube.injector import Injector, serve
    from proxy.observe.logs import LineWriter, configure

    injector = Injector(
        settings,
        listen=chosen.listen,
        admin=chosen.admin,
        certificate=chosen.tls_cert,
        key=chosen.tls_key,
        poll_s=chosen.tls_poll,
        linger_s=chosen.linger,
        drain_s=chosen.drain,
    )
    writer = LineWriter(sys.stdout.buffer)
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()  # what is loaded by now stays: collections need not look at it
    try:
        return run_serving(serve(injector, configure(writer.put, "debug" if chosen.debug else "info")))
    except OSError as error:
        print(f"fusebox: {error.strerror or error}. Name another address with --listen or --admin.", file=sys.stderr)
        return PROBLEMS
    finally:
        writer.close()


def _address(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, [IPV6]:PORT or :PORT (every address). Raises ArgumentTypeError."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host and not bracketed):
        raise ArgumentTypeError(f"{text!r} is no address: write HOST:PORT, [IPV6]:PORT, or :PORT for all addresses")
    return host[1:-1] if bracketed else host, int(port)


def _time(text: str) -> float:
    try:
        return float(Seconds.parse(text))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
