"""``fusebox k8s inject``: manifests in, the same manifests with the sidecar out."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from proxy.commands.k8s_options import add_settings, settings_of
from proxy.commands.parts import FINE, PROBLEMS, Commands
from proxy.commands.teaching import Teaching
from proxy.kube.manifests import TEXT_MAX, BadManifest, Result, inject_text
from proxy.kube.patch import Outcome


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "inject",
        help="print manifests with the sidecar in their pods",
        description="Read manifests and print them with the sidecar in every pod that may have it: Pod, Deployment,"
        " StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job, CronJob, PodTemplate, and lists of them."
        " Everything else passes as it is. What was done is told on stderr. Comments are lost. The code is the same as"
        " the webhook's. Exit code 1: a workload's annotations are wrong, and nothing is printed.",
        epilog="examples:\n"
        "  fusebox k8s inject -f app.yaml | kubectl apply -f -\n"
        "  kubectl get deployment shop -o json | fusebox k8s inject -f - | kubectl apply -f -\n"
        "  kubectl kustomize overlays/prod | fusebox k8s inject -f - --image llm-fusebox@sha256:...",
        formatter_class=Teaching,
    )
    parser.add_argument(
        "-f",
        "--filename",
        dest="files",
        action="append",
        required=True,
        metavar="FILE",
        help="YAML or JSON; - for stdin; may be repeated",
    )
    add_settings(parser)
    parser.set_defaults(run=lambda chosen: run(chosen, parser))


def run(chosen: Namespace, parser: ArgumentParser) -> int:
    """0 when everything was written; 1 when a file or a workload in it is not good."""
    settings = settings_of(chosen, parser)
    code, texts = FINE, []
    for name in chosen.files:
        try:
            text, results = inject_text(read_text(name), settings)
        except BadManifest as error:
            print(f"fusebox: {'stdin' if name == '-' else name}: {error}", file=sys.stderr)
            return PROBLEMS
        texts.append(text)
        if not results:
            print(f"fusebox: {'stdin' if name == '-' else name} holds no workload", file=sys.stderr)
        for result in results:
            print(*lines(result), sep="\n", file=sys.stderr)
            if result.decision.outcome is Outcome.DENIED:
                code = PROBLEMS
    if code == FINE:
        # What went wrong must not be half applied by what reads this.
        sys.stdout.write("---\n".join(texts))
    return code


def read_text(name: str) -> str:
    """The text of a file, or of stdin for ``-``. Raises BadManifest."""
    try:
        if name == "-":
            return sys.stdin.buffer.read(TEXT_MAX + 1).decode()
        with Path(name).open("rb") as file:
            return file.read(TEXT_MAX + 1).decode()
    except OSError as error:
        raise BadManifest(f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadManifest(f"byte {error.start} is not UTF-8") from None


def lines(result: Result) -> list[str]:
    """What became of a workload, for people."""
    decision = result.decision
    if decision.outcome is Outcome.INJECTED:
        names = [f"{container} gets {', '.join(found)}" for container, found in decision.env.items()]
        what = f"injected; {'; '.join(names) or 'no variables'}"
    else:
        what = f"{decision.outcome}: {decision.because}"
    return [f"{result.workload.title}: {what}", *(f"  warning: {one}" for one in decision.warnings)]
