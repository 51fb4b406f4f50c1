"""``fusebox k8s inject``: every kind of workload, lists and several documents; what is not ours stays as it was."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.cli import main
from proxy.kube.manifests import BadManifest, inject_text, read_all
from proxy.kube.patch import Outcome
from proxy.kube.workloads import TEMPLATES
from tests.kube.cases import SETTINGS
from tests.kube.schemas import VERSIONS, invalid

SPEC = {"containers": [{"name": "app", "image": "app:1"}]}
TEMPLATE = {"metadata": {"labels": {"app": "shop"}}, "spec": SPEC}
SELECTED = {"selector": {"matchLabels": {"app": "shop"}}, "template": TEMPLATE}
JOB = {**TEMPLATE, "spec": {**SPEC, "restartPolicy": "Never"}}

BODIES: dict[str, dict[str, Any]] = {
    "Pod": {"spec": SPEC},
    "PodTemplate": {"template": TEMPLATE},
    "ReplicationController": {"spec": {"selector": {"app": "shop"}, "template": TEMPLATE}},
    "Deployment": {"spec": SELECTED},
    "ReplicaSet": {"spec": SELECTED},
    "DaemonSet": {"spec": SELECTED},
    "StatefulSet": {"spec": {**SELECTED, "serviceName": "shop"}},
    "Job": {"spec": {"template": JOB}},
    "CronJob": {"spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": JOB}}}},
}
VERSION = {kind: f"{group}/v1".lstrip("/") for group, kind in TEMPLATES}


def workload(kind: str, name: str = "shop") -> dict[str, Any]:
    """One of each kind."""
    return {"apiVersion": VERSION[kind], "kind": kind, "metadata": {"name": name}, **BODIES[kind]}


def inits(document: Any) -> list[list[str]]:
    """Names of the init containers of every pod in a document."""
    if isinstance(document, dict):
        own = [[one["name"] for one in document.get("initContainers", ())]] if "containers" in document else []
        return own + [names for value in document.values() for names in inits(value)]
    return [names for one in document for names in inits(one)] if isinstance(document, list) else []


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_every_kind_of_workload(kind: str) -> None:
    """The sidecar is in its template, and the object is valid in three versions of Kubernetes."""
    assert set(BODIES) == {kind for _, kind in TEMPLATES}
    for text in (yaml.safe_dump(workload(kind)), json.dumps(workload(kind))):
        written, results = inject_text(text, SETTINGS)
        (document,) = yaml.safe_load_all(written)
        assert inits(document) == [["fusebox"]]
        assert [(one.workload.title, one.decision.outcome) for one in results] == [
            (f"{kind.lower()}/shop", Outcome.INJECTED)
        ]
        assert [invalid(document, version) for version in VERSIONS] == [[], [], []]
        assert inject_text(written, SETTINGS)[0] == written, "a second time changes nothing"


def test_lists_and_documents() -> None:
    """Items of a List, of a DeploymentList that says the kind once, and of several documents, each in its place."""
    deployment = workload("Deployment")
    bare = {key: value for key, value in deployment.items() if key not in ("kind", "apiVersion")}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": {"ports": [{"port": 80}]}}
    documents = [
        {"apiVersion": "v1", "kind": "List", "items": [service, workload("Job", "nightly"), deployment]},
        service,
        {"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [bare, bare]},
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Deployment", "spec": {"template": TEMPLATE}},
    ]
    written, results = inject_text(yaml.safe_dump_all(documents), SETTINGS)
    assert [one.workload.title for one in results] == ["job/nightly", *["deployment/shop"] * 3]
    found = list(yaml.safe_load_all(written))
    assert [inits(one) for one in found] == [[["fusebox"]] * 2, [], [["fusebox"]] * 2, [[]]]
    assert found[1] == service and found[0]["items"][0] == service and found[3] == documents[3]


UNTOUCHED = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: c, annotations: {sha: 12345e6, "sha2": "12345e6", y: y, "yes": 'no'}}
data:
  octal: 0644
  date: 2026-01-01
  time: 12:30:45
  text: |
    #!/bin/sh
    exec "$@"
  folded: >-
    one
    two
  empty:
  tilde: ~
  float: 1e3
  long: "a very long line that stays a line although it has many more words than anybody would want to read in one line of a file"
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  template:
    spec:
      containers:
      - name: app
        image: app:1
        args: ['--since=2026-01-01', "1e3", 'on']
        env:
        - {name: FLAG, value: "y"}
        - {name: SHA, value: "12345e6"}
"""


def test_scalars_stay_as_they_were_written() -> None:
    """kubectl and PyYAML differ on what a bare y, 1e3 or 0644 is; what is not touched is written as it was."""
    written, _ = inject_text(UNTOUCHED + "---\n" + DEPLOYMENT, SETTINGS)
    first, second = written.split("---\n")
    folded = UNTOUCHED.replace("    one\n    two\n", "    one two\n")
    assert first == folded
    for line in (
        "args: ['--since=2026-01-01', \"1e3\", 'on']",
        '- {name: FLAG, value: "y"}',
        '- {name: SHA, value: "12345e6"}',
    ):
        assert line in second
    lines = iter(second.splitlines())
    assert all(line in lines for line in DEPLOYMENT.splitlines()), "every line is there, in order"


def test_a_bare_date_is_text() -> None:
    """As kubectl has it; a day that is in no calendar, too."""
    for date in ("2026-01-01", "2026-13-45"):
        text = DEPLOYMENT.replace("    spec:\n", f"    metadata: {{annotations: {{since: {date}}}}}\n    spec:\n")
        written, results = inject_text(text, SETTINGS)
        assert results[0].decision.outcome is Outcome.INJECTED, results[0].decision
        assert f"since: {date}\n" in written


def test_our_own_text_is_quoted_where_it_could_be_something_else() -> None:
    """A CPU limit of 1 is text, and so is 1e3, which Go reads as a number where Python does not."""
    text = DEPLOYMENT.replace(
        "    spec:\n", '    metadata: {annotations: {llm-fusebox.dev/cpu-limit: "1e3"}}\n    spec:\n'
    )
    written, _ = inject_text(text, SETTINGS)
    assert 'cpu: "1e3"' in written and 'cpu: "50m"' in written and 'llm-fusebox.dev/injected: "true"' in written


def test_aliases_are_written_out() -> None:
    """Two containers that share a list by an alias each get variables once; merge keys count as in YAML 1.1."""
    text = """\
apiVersion: v1
kind: Pod
metadata: {name: shop}
spec:
  containers:
  - &base
    name: app
    image: app:1
    env: &env
    - {name: A, value: "1"}
  - <<: *base
    name: worker
    env: *env
"""
    written, _ = inject_text(text, SETTINGS)
    assert "&" not in written and "*id" not in written and "<<" not in written
    (pod,) = yaml.safe_load_all(written)
    assert [one["name"] for one in pod["spec"]["containers"]] == ["app", "worker"]
    for container in pod["spec"]["containers"]:
        assert [one["name"] for one in container["env"]] == ["OPENAI_BASE_URL", "OPENAI_API_KEY", "A"]
        assert container["image"] == "app:1"


def test_what_holds_nothing_to_inject_stays_letter_for_letter() -> None:
    """Comments, too."""
    text = "# why\napiVersion: v1\nkind: ConfigMap   # what\nmetadata: {name: c}\n---\n# nothing\n"
    assert inject_text(text, SETTINGS) == (text, [])


BILLIONS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{now}: &{now} [{','.join([f'*{before}'] * 9)}]\n" for before, now in zip("abcdef", "bcdefg", strict=True)
)
"""Nine to the seventh power of nodes, in seven lines."""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "line 1, column 6"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed here"),
        ("a: &a [*a]", "line 1: an anchor holds an alias of itself"),
        ("a: !thing 1", "line 1, column 4: could not determine a constructor"),
        ("a: \x00", "unacceptable character"),
        ("[" * 600, "nested too deeply"),
        (BILLIONS, "parts"),
    ],
)
def test_what_is_no_manifest(text: str, said: str) -> None:
    """Told with its place; never a traceback, and never all memory."""
    with pytest.raises(BadManifest, match=said.replace("(", r"\(")):
        inject_text(text, SETTINGS)
    with pytest.raises(BadManifest):
        read_all(text)


# The command


@pytest.fixture(autouse=True)
def _image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUSEBOX_IMAGE", raising=False)


def test_from_stdin_to_stdout(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests alone go to stdout; what was done goes to stderr."""
    stdin = io.TextIOWrapper(io.BytesIO(yaml.safe_dump(workload("Deployment")).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert main(["k8s", "inject", "-f", "-", "--image", "own/fusebox:2", "--env", "openai,anthropic"]) == 0
    shown = capsys.readouterr()
    (document,) = yaml.safe_load_all(shown.out)
    assert document["spec"]["template"]["spec"]["initContainers"][0]["image"] == "own/fusebox:2"
    assert shown.err == (
        "deployment/shop: injected; app gets OPENAI_BASE_URL, ANTHROPIC_BASE_URL, OPENAI_API_KEY, ANTHROPIC_API_KEY\n"
    )


def test_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One stream of documents comes out; one that has no workload is told."""
    one, two = tmp_path / "one.yaml", tmp_path / "two.json"
    one.write_text("apiVersion: v1\nkind: Service\n")
    two.write_text(json.dumps(workload("Pod")))
    assert main(["k8s", "inject", "-f", str(one), "-f", str(two)]) == 0
    shown = capsys.readouterr()
    assert [document["kind"] for document in yaml.safe_load_all(shown.out)] == ["Service", "Pod"]
    assert f"fusebox: {one} holds no workload\n" in shown.err


def test_a_bad_annotation_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half of a set must not reach a cluster; every reason is told."""
    bad = workload("Pod")
    bad["metadata"] = {"name": "shop", "annotations": {"llm-fusebox.dev/port": "x", "llm-fusebox.dev/nonsense": ""}}
    file = tmp_path / "pods.yaml"
    file.write_text(yaml.safe_dump_all([workload("Deployment"), bad]))
    assert main(["k8s", "inject", "-f", str(file)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert (
        "pod/shop: denied: annotation llm-fusebox.dev/port: 'x': write a whole number from 1024 to 65535" in shown.err
    )
    assert "  warning: annotation llm-fusebox.dev/nonsense is not known\n" in shown.err


def test_skipped_ones_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They pass as they are, and that is no problem."""
    pod = {**workload("Pod"), "spec": {**SPEC, "hostNetwork": True}}
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump(pod))
    assert main(["k8s", "inject", "-f", str(file)]) == 0
    shown = capsys.readouterr()
    assert yaml.safe_load(shown.out) == pod and shown.err.startswith("pod/shop: skipped: the pod has hostNetwork")


def test_a_job_without_native_sidecars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The template does not say that it is a Job's; the workload does."""
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(workload("CronJob")))
    assert main(["k8s", "inject", "-f", str(file), "--native-sidecar", "false"]) == 1
    assert "a Job would never complete" in capsys.readouterr().err


def test_the_image_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Manifests name it once, in a variable; an option wins."""
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump(workload("Pod")))
    monkeypatch.setenv("FUSEBOX_IMAGE", "registry.example/fusebox@sha256:1")
    assert main(["k8s", "inject", "-f", str(file)]) == 0
    assert "registry.example/fusebox@sha256:1" in capsys.readouterr().out
    monkeypatch.setenv("FUSEBOX_IMAGE", "not an image")
    with pytest.raises(SystemExit):
        main(["k8s", "inject", "-f", str(file)])
    assert "variable FUSEBOX_IMAGE: write the name of an image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "80"], "'80': write a whole number from 1024 to 65535"),
        (["--port", "4011"], "--port: 4011 is the admin port, too"),
        (["--cpu-request", "2"], "--cpu-request: 2 is more than the limit, 1: lower it, or write --cpu-limit too"),
        (["--image-pull-policy", "Sometimes"], "invalid choice"),
    ],
)
def test_bad_options(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Usage errors, in the words of the options."""
    with pytest.raises(SystemExit) as ended:
        main(["k8s", "inject", "-f", "x", *arguments])
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told with their name."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff")
    for name, said in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), (binary, "not UTF-8")):
        assert main(["k8s", "inject", "-f", str(name)]) == 1
        shown = capsys.readouterr()
        assert shown.out == "" and f"fusebox: {name}: " in shown.err and said in shown.err
