"""Your first request through Fusebox. `make run` runs this; by hand: python examples/first_request.py [CONFIG]

It starts the proxy, asks one question through it with the openai SDK, shows the answer as it streams and the proxy's
log line about it, and leaves the proxy serving until Ctrl-C. With ONCE=1 in the environment it ends after the request.

Without CONFIG it takes examples/openai.yaml when OPENAI_API_KEY is set, and otherwise examples/demo.yaml, whose
built-in provider needs no key. Exit codes: 0 fine, 1 something is in the way, and a message says what.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import openai
import yaml

ROOT = Path(__file__).resolve().parents[1]
PLACEHOLDER = "fusebox"
"""Stands for a key where a program has none; see ``fusebox env``."""

QUESTION = "In one sentence: what does a sidecar proxy do?"
START_LIMIT_TRIES = 400
"""How often the proxy is asked whether it is ready, a twentieth of a second apart."""

LOG_LIMIT_S = 10.0
"""How long to wait for the log line of an answered request; it is written right after the answer."""


class Problem(Exception):
    """Something that keeps the example from running; the text says what it is and what to do."""


class Proxy:
    """The proxy as a process of its own, as it runs in production. `lines` fills with its log, None at its end."""

    def __init__(self, config: Path) -> None:
        settings = yaml.safe_load(config.read_text())
        self.config = config
        self.listen = str(settings.get("listen", "127.0.0.1:4010"))
        self.admin = str(settings.get("admin", "127.0.0.1:4011"))
        self.lines: queue.Queue[str | None] = queue.Queue()
        for key, address in (("listen", self.listen), ("admin", self.admin)):
            check_port_is_free(key, address, config)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve", "--config", str(config)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            # Ctrl-C is meant for this script, which then ends the proxy in its own time.
            start_new_session=True,
        )
        threading.Thread(target=self._read_log, daemon=True).start()

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def wait_until_ready(self) -> None:
        """Returns when /readyz answers 200. Raises Problem when the proxy ends, or takes far too long."""
        for _ in range(START_LIMIT_TRIES):
            try:
                code = self.process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                if answers_200(f"http://{self.admin}/readyz"):
                    return
            else:
                raise Problem(f"The proxy ended with code {code} while it started; what it said stands above.")
        raise Problem("The proxy started but does not get ready.")

    def log_line(self, request_id: str) -> str:
        """The log line about one request. Raises Problem when it does not come."""
        while True:
            try:
                line = self.lines.get(timeout=LOG_LIMIT_S)
            except queue.Empty:
                line = None
            if line is None:
                raise Problem(f"No log line came for request {request_id}.")
            if line.startswith("{") and json.loads(line).get("request_id") == request_id:
                return line

    def show_log(self) -> None:
        """Prints log lines as they come, until Ctrl-C. Raises Problem when the proxy ends by itself."""
        while (line := self.lines.get()) is not None:
            print(line, flush=True)
        raise Problem(f"The proxy ended by itself with code {self.process.wait()}.")

    def stop(self) -> None:
        """Ends the proxy: running answers may finish, unless Ctrl-C comes once more."""
        self.process.terminate()
        try:
            self.process.wait()
        except KeyboardInterrupt:
            self.process.kill()
            self.process.wait()


def check_port_is_free(key: str, address: str, config: Path) -> None:
    """Raises Problem when something listens on `address` already."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise Problem(
            f"Port {port} on {host} cannot be used: {os.strerror(error.errno or 0)}. Perhaps a Fusebox still runs there.\n"
            f"Stop that program, or write another port at `{key}:` in {shown(config)}, and run this again."
        ) from None


def answers_200(url: str) -> bool:
    """Whether a GET is answered with 200; an egress proxy of the machine is not asked."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def shown(path: Path) -> str:
    """A path as a reader in the repository would write it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


# The request


def ask(proxy: Proxy) -> None:
    """Sends one streamed request through the proxy and explains it. Raises Problem."""
    # Fusebox puts the provider's own key in, so any key will do here. `trust_env=False`: the way to this machine's own
    # loopback address must not lead through an egress proxy.
    client = openai.OpenAI(
        base_url=f"http://{proxy.listen}/v1",
        api_key=PLACEHOLDER,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    )
    print(f'You ask the model "auto": {QUESTION}\n')
    try:
        raw = client.chat.completions.with_raw_response.create(
            model="auto", messages=[{"role": "user", "content": QUESTION}], stream=True
        )
        for chunk in raw.parse():
            for choice in chunk.choices:
                print(choice.delta.content or "", end="", flush=True)
    except openai.APIError as error:
        raise Problem(f"The request failed: {error}") from None
    finally:
        client.close()
    route, target, attempts = (raw.headers[f"x-fusebox-{name}"] for name in ("route", "target", "attempts"))
    print("\n\nThe proxy's log line about this request:\n")
    print(proxy.log_line(raw.headers["x-fusebox-request-id"]))
    print(f"\nWhat happened: the openai SDK sent its request to Fusebox at {proxy.listen}. There the route “{route}”")
    print(f"of {shown(proxy.config)} matched the model “auto” and chose the target {target}.")
    print("Fusebox replaced the model in the request, nothing else, and handed the answer on piece by piece as it came")
    print(f"(attempts: {attempts}).")
    if target.startswith("demo/"):
        print("\nNo key was given, so the demo provider that is built into Fusebox answered.")
        print("Set OPENAI_API_KEY and run this again, and a real model answers.")


def run(config: Path) -> None:
    """The whole example. Raises Problem, and KeyboardInterrupt on Ctrl-C."""
    proxy = Proxy(config)
    try:
        proxy.wait_until_ready()
        print(f"Fusebox serves on http://{proxy.listen} with {shown(config)}.\n")
        ask(proxy)
        print("\nTo use it from your own code, unchanged:\n")
        print(f"    export OPENAI_BASE_URL=http://{proxy.listen}/v1")
        print(f"    export OPENAI_API_KEY={PLACEHOLDER}    # the SDK wants one; Fusebox does not take this for a key")
        if os.environ.get("ONCE"):
            return
        print("\nFusebox goes on serving, and its log follows. Ctrl-C ends it.\n", flush=True)
        proxy.show_log()
    finally:
        proxy.stop()


def main(arguments: list[str]) -> int:
    """Runs the example; returns the exit code."""
    key = os.environ.get("OPENAI_API_KEY", "")
    standard = ROOT / "examples" / ("demo.yaml" if key in ("", PLACEHOLDER) else "openai.yaml")
    # Whoever ends this script otherwise than by Ctrl-C wants the same: no proxy left behind. A shell has what it starts with &
    # ignore SIGINT; yet here it is the way to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        run(Path(arguments[0]).resolve() if arguments else standard)
    except KeyboardInterrupt:
        print("\nStopped.")
    except Problem as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
