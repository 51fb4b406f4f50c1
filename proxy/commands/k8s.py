"""``fusebox k8s``: the sidecar in pods of Kubernetes."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from proxy.commands.parts import Commands
from proxy.commands.teaching import Teaching

SUBCOMMANDS = ("inject", "why", "certs", "webhook")
"""Each is a module ``proxy/commands/k8s_NAME.py``, in the order in which help lists them."""


def add(commands: Commands) -> None:
    """Declare the command and those below it."""
    parser = commands.add_parser(
        "k8s",
        help="put the sidecar into pods of Kubernetes, and see why a pod has none",
        description="Put the sidecar into pods of Kubernetes: by hand with `inject`, or by a webhook of the cluster.",
        epilog="examples:\n"
        "  fusebox k8s inject -f app.yaml | kubectl apply -f -\n"
        "  fusebox k8s why -f app.yaml --namespace-labels llm-fusebox.dev/injection=enabled",
        formatter_class=Teaching,
    )
    below = parser.add_subparsers(dest="k8s_command", required=True, metavar="COMMAND")
    for name in SUBCOMMANDS:
        module = f"proxy.commands.k8s_{name}"
        if find_spec(module) is not None:
            import_module(module).add(below)
