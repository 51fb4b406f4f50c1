"""The proxies that are compared: how each is found, configured and started in front of an upstream.

nginx and HAProxy write no access log here while Fusebox writes its line per request: the baseline is the hardest one.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.payloads import CLIENT_KEY, MODEL_ASKED, MODEL_SENT
from bench.processes import REPOSITORY, BenchError, Child, free_port
from bench.upstream import KEPT_ALIVE_REQUESTS, Upstream, find_nginx, nginx_command

IDLE_CONNECTIONS_KEPT = 512
LITELLM_VARIABLE = "BENCH_LITELLM"
"""Environment variable with the path of the ``litellm`` command, when it is not on the PATH."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a subject is started with: a folder of its own, the upstream, a data port and a free one for its admin."""

    folder: Path
    upstream: Upstream
    port: int
    admin_port: int


@dataclass(frozen=True, slots=True)
class Subject:
    """One proxy. `missing` gives the reason why it cannot run here, or None; `command` writes its configuration.

    It is ready when its data port accepts connections or, with `ready_path`, when that path answers 200 on the data
    port or (`ready_on_admin`) the admin port.
    """

    name: str
    title: str
    missing: Callable[[], str | None]
    command: Callable[[Site], list[str]]
    ready_path: str | None = None
    ready_on_admin: bool = False
    ready_within_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Running:
    """A started subject. `child` is None for direct, where the load goes to the upstream itself."""

    child: Child | None
    port: int
    ready_s: float


DIRECT = "direct"
BASELINE = "nginx"
FUSEBOX = "fusebox"


def _command_absent(command: str, package: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        found = shutil.which(command) or shutil.which(command, path="/usr/sbin")
        return None if found else f"the {command} command is absent: install Debian's package {package}"

    return missing


def _nginx_missing() -> str | None:
    try:
        find_nginx()
    except BenchError as error:
        return str(error)
    return None


def _nginx(site: Site) -> list[str]:
    tls = ""
    if ca := site.upstream.ca:
        tls = (
            f"      proxy_ssl_verify on;\n      proxy_ssl_trusted_certificate {ca};\n      proxy_ssl_name localhost;\n"
            "      proxy_ssl_server_name on;\n      proxy_ssl_session_reuse on;\n"
        )
    return nginx_command(
        site.folder,
        f"  upstream u {{\n    server 127.0.0.1:{site.upstream.port} max_fails=0;\n"
        f"    keepalive {IDLE_CONNECTIONS_KEPT};\n    keepalive_requests {KEPT_ALIVE_REQUESTS};\n  }}\n"
        f"  server {{\n    listen 127.0.0.1:{site.port} backlog=4096;\n"
        "    client_max_body_size 64m;\n    location / {\n"
        f"      proxy_pass {'https' if site.upstream.ca else 'http'}://u;\n      proxy_http_version 1.1;\n"
        '      proxy_set_header Connection "";\n      proxy_set_header Host $http_host;\n'
        f"      proxy_buffering off;\n      proxy_request_buffering off;\n      proxy_read_timeout 120s;\n{tls}"
        "    }\n  }\n",
    )


def _haproxy(site: Site) -> list[str]:
    tls = f" ssl verify required ca-file {site.upstream.ca} verifyhost localhost" if site.upstream.ca else ""
    (site.folder / "haproxy.cfg").write_text(
        "global\n  nbthread 1\n  maxconn 9000\n"
        "defaults\n  mode http\n  timeout connect 3s\n  timeout client 120s\n  timeout server 120s\n"
        "  option http-keep-alive\n  option http-no-delay\n  http-reuse always\n"
        f"frontend f\n  bind 127.0.0.1:{site.port} backlog 4096\n  default_backend b\n"
        f"backend b\n  server u 127.0.0.1:{site.upstream.port}{tls}\n"
    )
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    return [found or "haproxy", "-db", "-f", str(site.folder / "haproxy.cfg")]


def _fusebox_missing() -> str | None:
    found = importlib.util.find_spec("proxy") and (REPOSITORY / "proxy" / "__main__.py").exists()
    return None if found else "python -m proxy does not exist in this checkout"


def _fusebox(site: Site) -> list[str]:
    ca = f"    ca: {site.upstream.ca}\n" if site.upstream.ca else ""
    config = site.folder / "config.yaml"
    config.write_text(
        f"listen: 127.0.0.1:{site.port}\nadmin: 127.0.0.1:{site.admin_port}\n"
        f"providers:\n  local:\n    base_url: {site.upstream.url}/v1\n    keys: none\n{ca}"
        f"models: {{local/{MODEL_SENT}: {{price: {{input: 2.5, cached_input: 0.25, output: 15}}}}}}\n"
        f"routes:\n  - name: bench\n    match: {{}}\n    to: [local/{MODEL_SENT}]\n"
    )
    return [sys.executable, "-m", "proxy", "serve", "--config", str(config)]


def _plain(site: Site) -> list[str]:
    command = [sys.executable, "-m", "bench.plain_proxy", "--port", str(site.port), "--upstream", site.upstream.url]
    return command + (["--ca", str(site.upstream.ca)] if site.upstream.ca else [])


def _litellm_path() -> str | None:
    return shutil.which(os.environ.get(LITELLM_VARIABLE, "litellm"))


def _litellm_missing() -> str | None:
    if _litellm_path():
        return None
    return f"no litellm command: install litellm[proxy] in its own environment and set {LITELLM_VARIABLE} to its path"


def _litellm(site: Site) -> list[str]:
    ca = f"  ssl_verify: {site.upstream.ca}\n" if site.upstream.ca else ""
    config = site.folder / "litellm.yaml"
    config.write_text(
        f"model_list:\n  - model_name: {MODEL_ASKED}\n    litellm_params:\n      model: openai/{MODEL_SENT}\n"
        f"      api_base: {site.upstream.url}/v1\n      api_key: none\n"
        f"general_settings:\n  master_key: {CLIENT_KEY}\nlitellm_settings:\n  telemetry: false\n{ca}"
    )
    return [_litellm_path() or "litellm", "--config", str(config), "--host", "127.0.0.1", "--port", str(site.port)]


SUBJECTS = (
    Subject(DIRECT, "direct (no proxy)", lambda: None, lambda site: []),
    Subject(BASELINE, "nginx, one worker", _nginx_missing, _nginx),
    Subject("haproxy", "HAProxy, one thread", _command_absent("haproxy", "haproxy"), _haproxy),
    Subject(FUSEBOX, "Fusebox", _fusebox_missing, _fusebox, ready_path="/readyz", ready_on_admin=True),
    Subject("aiohttp", "plain aiohttp proxy", lambda: None, _plain),
    Subject("litellm", "LiteLLM proxy", _litellm_missing, _litellm, "/health/liveliness", ready_within_s=90.0),
)


def start_subject(subject: Subject, upstream: Upstream, folder: Path) -> Running:
    """Starts `subject` in front of `upstream` and waits until it is ready; the caller stops ``child``.

    Raises BenchError when it does not become ready.
    """
    if subject.name == DIRECT:
        return Running(None, upstream.port, 0.0)
    site = Site(folder, upstream, free_port(), free_port())
    child = Child(subject.title, subject.command(site), folder / "out.log")
    try:
        ready_port = site.admin_port if subject.ready_on_admin else site.port
        ready_s = child.wait_ready(ready_port, subject.ready_path, subject.ready_within_s)
    except BaseException:
        child.stop()
        raise
    return Running(child, site.port, ready_s)
