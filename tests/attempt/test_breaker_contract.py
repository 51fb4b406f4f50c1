"""What the breaker relies on in pybreaker: private parts and who calls them. Fails when a new release changes them.

When it does: read the new source of the function named, see whether `proxy/attempt/breaker.py` still holds (its
docstring lists what it uses), and only then write the new fingerprint here.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
from pybreaker import CircuitBreaker, CircuitBreakerState, CircuitClosedState, CircuitHalfOpenState, CircuitOpenState

from tests.attempt.fakes import Bench

assert isinstance(CircuitBreaker.state, property) and isinstance(CircuitBreaker.success_counter, property)

RELIED_ON: list[tuple[Any, str]] = [
    (CircuitBreaker.__init__, "fcabf07bb843"),
    (CircuitBreaker.state.fset, "bc6f1eab4b9c"),
    (CircuitBreaker.success_counter.fget, "99c3b5ea238c"),
    (CircuitBreaker.open, "90d3c074709b"),
    (CircuitBreaker.half_open, "6b630e1bcbb9"),
    (CircuitBreaker.close, "72181c0fbdde"),
    (CircuitBreaker.is_system_error, "00b8175f68c4"),
    (CircuitBreaker._inc_counter, "135025b9cceb"),
    (CircuitBreaker.calling, "55dc4e8886b4"),
    (CircuitBreaker.__call__, "ed3c6c726b0a"),
    (CircuitBreakerState.__init__, "eec7a7be2eee"),
    (CircuitBreakerState._handle_error, "093f9cc106c8"),
    (CircuitBreakerState._handle_success, "b879eabbc0cc"),
    (CircuitClosedState.__init__, "ff6120f62471"),
    (CircuitOpenState.__init__, "b65c553cb459"),
    (CircuitHalfOpenState.__init__, "9370fdc7deca"),
    (CircuitHalfOpenState.on_success, "413f8e26868a"),
]
"""Each function of pybreaker that runs here, and the fingerprint of its code."""


def _fingerprint(function: Callable[..., Any]) -> str:
    """Of what a function does: its code without docstring, comments and layout."""
    lines, _ = inspect.getsourcelines(function)
    indent = len(lines[0]) - len(lines[0].lstrip())
    tree = ast.parse("".join(line[indent:] for line in lines))
    body = tree.body[0]
    assert isinstance(body, ast.FunctionDef)
    if ast.get_docstring(body):
        body.body = body.body[1:]
    body.returns = None
    body.decorator_list = []
    for argument in [*body.args.args, *body.args.kwonlyargs]:
        argument.annotation = None
    return hashlib.sha256(ast.unparse(body).encode()).hexdigest()[:12]


def test_the_release_is_one_that_was_read() -> None:
    """1.4.1 or a later 1.4."""
    major, minor, patch = (int(part) for part in version("pybreaker").split(".")[:3])
    assert (major, minor) == (1, 4) and patch >= 1


@pytest.mark.parametrize(("function", "fingerprint"), RELIED_ON, ids=lambda value: getattr(value, "__qualname__", None))
def test_what_runs_here_is_what_was_read(function: Callable[..., Any], fingerprint: str) -> None:
    """Same code, whatever its comments and layout."""
    assert _fingerprint(function) == fingerprint


def test_a_verdict_goes_through_the_hooks_that_the_states_override() -> None:
    """Success: reset_counter, on_success. Failure: increment_counter, on_failure. Once each, in this order."""
    said: list[str] = []

    class Storage:
        def __getattr__(self, name: str) -> Callable[[], None]:
            return lambda: said.append(name)

    class Circuit:
        _state_storage = Storage()
        listeners = ()

        def is_system_error(self, exc: BaseException) -> bool:
            return True

        def _inc_counter(self) -> None:
            CircuitBreaker._inc_counter(self)

    class Watched(CircuitBreakerState):
        def on_success(self) -> None:
            said.append("on_success")

        def on_failure(self, exc: BaseException) -> None:
            said.append("on_failure")

    state = Watched(Circuit(), "watched")
    state._handle_success()
    assert said == ["reset_counter", "on_success"]
    said.clear()
    state._handle_error(RuntimeError(), reraise=False)
    assert said == ["increment_counter", "on_failure"]


def test_the_ways_of_pybreaker_that_fail_under_asyncio_are_closed() -> None:
    """call, calling, decorators and call_async."""
    breaker = Bench().breaker
    for way in (
        lambda: breaker.call(print),
        lambda: breaker.call_async(print),
        lambda: breaker.calling().__enter__(),
        lambda: breaker(print)(),
    ):
        with pytest.raises(TypeError, match="acquire"):
            way()
