"""``fusebox k8s why``: would this pod get the sidecar, and if not, what is in the way."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator

from proxy.commands.k8s_inject import read_text
from proxy.commands.k8s_options import add_settings, settings_of
from proxy.commands.parts import FINE, PROBLEMS, Commands
from proxy.commands.teaching import Teaching
from proxy.kube.manifests import BadManifest, read_all
from proxy.kube.patch import Outcome
from proxy.kube.webhooks import configuration
from proxy.kube.why import Answer, NoWebhooks, explain, webhooks
from proxy.kube.workloads import workloads


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "why",
        help="say why a pod gets the sidecar, or why not",
        description="Evaluate the selectors of the injector's webhooks on the pods of manifests, as the API server would,"
        " and then the injector's own reasons. Nothing is asked of a cluster. Exit code 1: a workload would run without"
        " the sidecar.",
        epilog="examples:\n"
        "  fusebox k8s why -f app.yaml --namespace-labels llm-fusebox.dev/injection=enabled\n"
        "  kubectl kustomize deploy/k8s/overlays/prod > rendered.yaml\n"
        "  fusebox k8s why -f app.yaml -n shop --webhooks rendered.yaml\n"
        "  kubectl get pod shop-1 -o yaml | fusebox k8s why -f - -n shop",
        formatter_class=Teaching,
    )
    parser.add_argument(
        "-f", "--filename", dest="file", required=True, metavar="FILE", help="YAML or JSON; - for stdin"
    )
    parser.add_argument(
        "-n", "--namespace", default="", metavar="NAME", help="where it is made (the manifest's, default)"
    )
    parser.add_argument(
        "--namespace-labels",
        type=_labels,
        action="append",
        default=[],
        metavar="K=V[,K=V]",
        help="the namespace's labels, as `kubectl get namespace --show-labels` prints them",
    )
    parser.add_argument(
        "--webhooks",
        metavar="FILE",
        help="rendered manifests with the MutatingWebhookConfiguration (default: what deploy/k8s sets up)",
    )
    add_settings(parser)
    parser.set_defaults(run=lambda chosen: run(chosen, parser))


def _labels(text: str) -> dict[str, str]:
    found = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not key or not equals:
            raise ArgumentTypeError(f"{part!r} is no label: write KEY=VALUE, with commas between them")
        found[key.strip()] = value.strip()
    return found


def run(chosen: Namespace, parser: ArgumentParser) -> int:
    """0 when every workload would have the sidecar."""
    settings = settings_of(chosen, parser)
    labels = {key: value for part in chosen.namespace_labels for key, value in part.items()}
    source = chosen.webhooks or "the built-in configuration"
    try:
        hooks = webhooks(read_all(read_text(chosen.webhooks)) if chosen.webhooks else [configuration()])
        source = chosen.file
        found = [one for document in read_all(read_text(chosen.file)) for one in workloads(document)]
        if not found:
            raise BadManifest("it holds no workload")
        answers = [explain(one, hooks, settings, chosen.namespace, labels) for one in found]
    except (BadManifest, NoWebhooks) as error:
        print(f"fusebox: {source}: {error}", file=sys.stderr)
        return PROBLEMS
    for answer in answers:
        print(*_lines(answer), sep="\n")
    return FINE if all(answer.injected for answer in answers) else PROBLEMS


def _lines(answer: Answer) -> Iterator[str]:
    what = "gets the sidecar" if answer.injected else "does not get the sidecar"
    if answer.selected and answer.decision.outcome is Outcome.DENIED:
        what = "is refused"
    yield f"{answer.workload.title} in namespace {answer.namespace} {what}"
    for one in answer.selections:
        yield f"  webhook {one.webhook}: {'is not asked' if one.misfits else 'is asked'}"
        yield from (f"    {reason}" for reason in (*one.misfits, *one.unknown))
    decision = answer.decision
    if decision.outcome is Outcome.INJECTED:
        names = [f"{container}: {', '.join(found)}" for container, found in decision.env.items()]
        said = f"injects; variables for {'; '.join(names)}" if names else "injects; no variables"
    elif decision.outcome is Outcome.UNCHANGED:
        said = f"has nothing to do: {decision.because}"
    else:
        said = f"{'refuses' if decision.outcome is Outcome.DENIED else 'skips'}: {decision.because}"
    yield f"  the injector, {'then' if answer.selected else 'if it were asked'}: {said}"
    yield from (f"    warning: {one}" for one in decision.warnings)
    yield from (f"  hint: {one}" for one in answer.hints)
