"""What the image holds, and that it runs as pods run it: read-only, any user but root, no shell."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

import pytest

from deploy.image import environment, sandbox, sbom
from proxy import __version__
from proxy.kube.settings import Settings
from tests.deploy.assembled import ROOT, need_sandbox, rootfs
from tests.observe.receiver import Receiver

DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCK = sbom.locked((ROOT / environment.LOCK).read_text())
PLACE = "opt/fusebox"


def packages() -> Path:
    """Where the packages are."""
    return rootfs() / PLACE / "lib" / environment.VERSION / "site-packages"


def instructions(name: str) -> list[str]:
    """The arguments of every such instruction of the Dockerfile, continued lines as one."""
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


def run(
    *arguments: str, entrypoint: str = sandbox.ENTRYPOINT, given: str = "", mounts: Mapping[str, Path] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in the image. `mounts`: as of `sandbox.command`; `given`: its standard input."""
    command = sandbox.command(rootfs(), arguments, mounts or {}, entrypoint)
    environment = {**sandbox.ENVIRONMENT, "PATH": f"{sandbox.ENVIRONMENT['PATH']}:/usr/sbin:/sbin"}
    return subprocess.run(
        command, env=environment, input=given, capture_output=True, text=True, timeout=60, check=False
    )


# What it holds


def test_it_is_small() -> None:
    """All that the image adds to its base has 60 MB at most: packages, bytecode, that of the standard library as well."""
    added = environment.sizes(rootfs() / PLACE)["total"]
    added += sum(path.stat().st_size for path in (rootfs() / "usr").rglob("*.pyc"))
    assert 20 * environment.MB < added <= environment.SIZE_MAX_MB * environment.MB


def test_it_holds_what_is_locked_and_nothing_else() -> None:
    """Every locked package in its version, and Fusebox."""
    found = {(sbom.canonical(one.metadata["Name"]), one.version) for one in distributions(path=[str(packages())])}
    assert found == {*LOCK, ("llm-fusebox", __version__)}


def test_what_is_locked_for_it_is_what_is_tested() -> None:
    """All that Fusebox needs, and the extra `otel`, in the very versions that the tests run with; nothing of the tests."""
    needed, tested = (sbom.locked((ROOT / name).read_text()) for name in ("requirements.lock", "requirements-dev.lock"))
    assert set(needed) < set(LOCK) < set(tested)
    assert all(LOCK[key] == tested[key] for key in LOCK)
    traces = {name for name, _ in set(LOCK) - set(needed)}
    assert traces > {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "protobuf", "requests"}
    assert "pytest" not in traces and "cryptography" not in traces


def test_it_holds_all_of_fusebox() -> None:
    """Modules, and what they read: a file that the wheel forgets is missed by who opens the page."""

    def files(folder: Path) -> set[str]:
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}

    assert files(packages() / "proxy") == files(ROOT / "proxy")


def test_every_module_is_compiled_for_good() -> None:
    """Bytecode that is used without a look at the source, with the paths of the image in it."""
    modules = list(packages().rglob("*.py"))
    assert len(modules) > 200
    for path in modules:
        compiled = path.parent / "__pycache__" / f"{path.stem}.cpython-{environment.VERSION[6:].replace('.', '')}.pyc"
        raw = compiled.read_bytes()
        assert int.from_bytes(raw[4:8], "little") == 0b01, f"{compiled} is not an unchecked, hashed one"
        assert f"/{PLACE}/lib/{environment.VERSION}/site-packages/{path.relative_to(packages())}".encode() in raw


def test_the_standard_library_is_compiled_too() -> None:
    """The official base comes without its bytecode. Both ways of assembling say the same to compileall."""
    library = rootfs() / "usr/local/lib" / environment.VERSION
    for name in ("asyncio/base_events", "ssl", "argparse", "http/client"):
        folder, _, module = f"{name}".rpartition("/")
        (compiled,) = (library / folder / "__pycache__").glob(f"{module}.cpython-*.pyc")
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01
    (step,) = (json.loads(one) for one in instructions("RUN") if "compileall" in one)
    minor = re.findall(r"^ARG PYTHON_VERSION=(3\.\d+)", DOCKERFILE, re.MULTILINE)[0]
    assert step == ["python", "-m", "compileall", *environment.STDLIB, f"/usr/local/lib/python{minor}"]


def test_there_is_no_shell_and_no_installer() -> None:
    """Nothing to call but Python."""
    programs = {path.name for path in rootfs().rglob("bin/*")}
    assert programs == {"fusebox", "python", "python3", environment.VERSION}
    assert not list(rootfs().rglob("pip")) and not list(packages().rglob("*.pyx"))


def test_the_bill_of_materials() -> None:
    """A component for each package, with the hash of the archive that the lock file names, and a licence."""
    bill = json.loads((rootfs() / PLACE / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["version"] == __version__
    found = {(one["name"], one["version"]): one for one in bill["components"]}
    assert set(found) == set(LOCK)
    for key, one in found.items():
        assert one["hashes"][0]["content"] in LOCK[key]
        assert one["licenses"], key
        assert one["purl"] == "pkg:pypi/{}@{}".format(*key)
    assert sorted(bill["dependencies"][0]["dependsOn"]) == sorted(one["bom-ref"] for one in bill["components"])


def test_a_bill_for_something_foreign_is_refused() -> None:
    """An archive with a hash that is not locked, or a package that came by another way, stops the build."""
    archive = {"archive_info": {"hashes": {"sha256": "0" * 64}}}
    entry = {"metadata": {"name": "aiohttp", "version": "1.0"}, "download_info": archive}
    with pytest.raises(sbom.Foreign, match=r"aiohttp 1\.0 with SHA-256 0000"):
        sbom.document(packages(), {"install": [entry]}, LOCK)
    with pytest.raises(sbom.Foreign, match=r"not from the lock file: .*uvloop"):
        sbom.document(packages(), {"install": []}, LOCK)


# The Dockerfile, which nothing here can build


def test_the_base_is_pinned() -> None:
    """Both stages have the same one: a full version, and the digest as an argument. It is the Python that is tested."""
    assert {re.sub(r" AS .*", "", one) for one in instructions("FROM")} == {
        "python:${PYTHON_VERSION}-${PYTHON_VARIANT}${PYTHON_DIGEST}"
    }
    arguments = dict(one.partition("=")[::2] for one in instructions("ARG"))
    assert re.fullmatch(r"3\.\d+\.\d+", re.findall(r"^ARG PYTHON_VERSION=(.*)$", DOCKERFILE, re.MULTILINE)[0])
    assert "ARG PYTHON_DIGEST=\n" in DOCKERFILE
    assert arguments["VERSION"] == __version__


def test_the_user_is_a_number_and_not_root() -> None:
    """The one that the injector knows of, and the tests use."""
    assert instructions("USER") == [f"{sandbox.USER}:{sandbox.USER}"]
    assert Settings().run_as_user == sandbox.USER != 0


def test_it_starts_without_a_shell() -> None:
    """Entrypoint, command and steps are lists."""
    assert [json.loads(one) for one in instructions("ENTRYPOINT")] == [[sandbox.ENTRYPOINT]]
    for one in (*instructions("CMD"), *instructions("RUN")):
        assert isinstance(json.loads(one), list)


def test_environment_and_labels() -> None:
    """The variables are those that the sandbox sets; every label that registries show is there."""
    (variables,) = instructions("ENV")
    assert dict(one.split("=", 1) for one in variables.split()) == sandbox.ENVIRONMENT
    (labels,) = instructions("LABEL")
    found = set(re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", labels))
    assert found >= {"title", "description", "version", "revision", "created", "source", "licenses", "base.name"}


def test_what_is_copied_may_be_sent() -> None:
    """.dockerignore lets pass what the Dockerfile copies, and neither Git's folder nor anything else."""
    lines = [one for one in (ROOT / ".dockerignore").read_text().splitlines() if one and not one.startswith("#")]
    assert lines[0] == "*"
    allowed = [one[1:] for one in lines if one.startswith("!")]
    copied = [one for line in instructions("COPY") if "--from" not in line for one in line.split()[:-1]]
    assert {one.rstrip("/") for one in copied} == set(allowed)
    assert all((ROOT / one).exists() for one in allowed)
    assert not any(fnmatch.fnmatch(name, one) for name in (".git", ".venv", "tests") for one in allowed)


# How it runs


def test_it_runs_read_only_without_rights() -> None:
    """As a numeric user, without capabilities, and unable to gain any; nothing can be written, not even to /tmp."""
    need_sandbox()
    script = """
import errno, os
told = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(os.getuid(), os.getgid(), told["CapEff"].strip("0"), told["NoNewPrivs"])
for place in ("/", "/tmp", "/opt/fusebox", "/var/run/fusebox", "/etc/fusebox"):
    try:
        open(place + "/probe", "w")
    except OSError as error:
        assert error.errno in (errno.EROFS, errno.EACCES), error
        continue
    print("written to", place)
"""
    ran = run("-c", script, entrypoint="/opt/fusebox/bin/python")
    assert (ran.stdout, ran.stderr) == (f"{sandbox.USER} {sandbox.USER}  1\n", "")


def test_every_command_loads() -> None:
    """The help lists all of them, so each was imported: nothing that is installed for tests alone is missing."""
    need_sandbox()
    ran = run("--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.search(r"^ +serve .*^ +k8s ", ran.stdout, re.MULTILINE | re.DOTALL)


def test_it_injects() -> None:
    """`k8s inject` from the image: what somebody without Python uses."""
    need_sandbox()
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: app, image: app}]}\n"
    ran = run("k8s", "inject", "-f", "-", given=pod)
    assert ran.returncode == 0, ran.stderr
    assert 'restartPolicy: "Always"' in ran.stdout or "restartPolicy: Always" in ran.stdout


SEND = """
import sys
from proxy.config.schema import Traces
from proxy.observe.record import Record
from proxy.observe.trace import Trace
from proxy.observe.trace_otlp import Otlp

record = Record("GET", "/v1/models", status=200)
record.ended_at = record.started_at
record.trace = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", None, 1, 1_700_000_000_000_000_000, record.started_at)
otlp = Otlp(Traces(otlp=f"http://127.0.0.1:{sys.argv[1]}"))
print(otlp.send([record], lambda: None))
otlp.close()
"""


def test_it_has_what_traces_needs(tmp_path: Path) -> None:
    """A policy with `traces` is proved without a warning, and a span made in the image reaches a receiver."""
    need_sandbox()
    tmp_path.chmod(0o755)
    policy = "providers: {p: {base_url: 'http://h/v1', keys: none}}\nroutes: [{name: r, match: {}, to: [p]}]\ntraces:\n"
    (tmp_path / "config.yaml").write_text(policy)
    proved = run("check", "--strict", "/etc/fusebox/config.yaml", mounts={"/etc/fusebox": tmp_path})
    assert (proved.returncode, proved.stderr) == (0, ""), proved.stdout
    with Receiver() as receiver:
        ran = run("-c", SEND, str(receiver.port), entrypoint="/opt/fusebox/bin/python")
        assert (ran.stdout, ran.stderr) == ("None\n", "")
        (span,) = receiver.spans
    assert (span.name, span.resource["service.name"]) == ("GET", "llm-fusebox")
