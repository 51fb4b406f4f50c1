"""Pieces of the injector: pointers and patches, quantities, and the programs that an ordinary container runs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import get_args, get_type_hints

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import Log
from proxy.dev import shell
from proxy.kube import names, quantity, sidecar
from proxy.kube.annotations import LOG_LEVELS
from proxy.kube.pointer import add, apply, parts_of, pointer, replace


@given(st.lists(st.text()))
def test_pointers_are_read_as_they_are_written(parts: list[str]) -> None:
    """Whatever the names hold, tildes and slashes too (RFC 6901 section 3)."""
    assert parts_of(pointer(*parts)) == parts


def test_a_patch_is_applied_as_by_others() -> None:
    """`add` and `replace`, in objects and in lists; the document itself stays."""
    document = {"a/b": {"~": [1, 2]}, "c": 3}
    patch = [
        add("/a~1b/~0/0", 0),
        add("/a~1b/~0/-", 3),
        replace("/a~1b/~0/1", {"x": 1}),
        replace("/c", 4),
        add("/c", 5),
        add("/d", []),
        add("/d/0", "e"),
    ]
    expected = {"a/b": {"~": [0, {"x": 1}, 2, 3]}, "c": 5, "d": ["e"]}
    assert apply(document, patch) == expected == jsonpatch.apply_patch(document, [dict(one) for one in patch])
    assert document == {"a/b": {"~": [1, 2]}, "c": 3}


@pytest.mark.parametrize("operation", [replace("/b", 1), add("/b/c", 1), add("/a/2", 1), replace("/a/1", 1)])
def test_a_patch_for_another_document_is_none(operation: object) -> None:
    """It is not applied somewhere else."""
    with pytest.raises((KeyError, IndexError)):
        apply({"a": [0]}, [operation])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", Fraction(1)),
        ("250m", Fraction(1, 4)),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("1.", Fraction(1)),
        ("+1", Fraction(1)),
        ("1k", Fraction(1000)),
        ("1Ki", Fraction(1024)),
        ("128Mi", Fraction(128 * 1024**2)),
        ("1.5Gi", Fraction(3 * 1024**3, 2)),
        ("2E", Fraction(2 * 10**18)),
        ("2Ei", Fraction(2 * 1024**6)),
        ("1e3", Fraction(1000)),
        ("1E3", Fraction(1000)),
        ("1e-3", Fraction(1, 1000)),
        ("5n", Fraction(5, 10**9)),
        ("5u", Fraction(5, 10**6)),
        ("0", Fraction(0)),
    ],
)
def test_quantities(text: str, amount: Fraction) -> None:
    """As Kubernetes reads them."""
    assert quantity.parse(text) == amount


@pytest.mark.parametrize(
    "text", ["", "m", "1 Mi", "1mi", "1MI", "-1", "1e", "1e3Mi", "0x1", "1,5", "1e999", "١", "9" * 19]
)
def test_what_is_no_quantity(text: str) -> None:
    """Refused, also where Python would read a number."""
    with pytest.raises(ValueError, match="write a quantity"):
        quantity.parse(text)


def test_names_agree_with_the_rest() -> None:
    """What is written twice because rooms import one way only is the same."""
    assert names.PLACEHOLDER == shell.PLACEHOLDER
    assert get_args(get_type_hints(Log)["level"]) == LOG_LEVELS
    assert len(names.ADMIN_PORT_NAME) <= 15


class Ready(BaseHTTPRequestHandler):
    """Says 503 to the first who ask, then 200."""

    left = 1

    def do_GET(self) -> None:
        """Only ``/readyz`` is ever asked for."""
        ready = self.path == "/readyz" and Ready.left == 0
        Ready.left = max(0, Ready.left - 1)
        self.send_response(200 if ready else 503)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def admin_port() -> Iterator[int]:
    """An admin port that is ready at the second question."""
    Ready.left = 1
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_an_ordinary_container_is_waited_for(admin_port: int) -> None:
    """What postStart runs ends when the sidecar is ready, and not before. It takes a shell no more than the image has one."""
    program = sidecar.AWAIT.replace("time.sleep(1)", "time.sleep(0.01)")
    ran = subprocess.run([sys.executable, "-c", program, str(admin_port)], timeout=60, check=False)
    assert ran.returncode == 0 and Ready.left == 0


def test_a_container_that_never_gets_ready_is_told() -> None:
    """The kubelet shows what a failed postStart wrote."""
    program = sidecar.AWAIT.replace("time.sleep(1)", "pass")
    ran = subprocess.run([sys.executable, "-c", program, "1"], timeout=60, check=False, capture_output=True, text=True)
    assert ran.returncode == 1 and ran.stderr == "fusebox is not ready\n"
