"""Reloads: plain facts, for whoever shows or counts them."""

from __future__ import annotations

from proxy.config.problems import ConfigError, Problem
from proxy.observe.reloads import Failure, Reloads


def test_a_life() -> None:
    """A good one ends the failing and leaves the last failure to be read."""
    reloads = Reloads("a", 1.0)
    assert (reloads.count, reloads.failures, reloads.failing, reloads.last_failure) == (0, 0, False, None)
    failure = Failure(2.0, OSError("no"), "b")
    reloads.failed(failure)
    assert (reloads.count, reloads.failures, reloads.failing, reloads.digest) == (0, 1, True, "a")
    reloads.taken("c", 3.0, ["listen"])
    assert (reloads.count, reloads.failures, reloads.failing) == (1, 1, False)
    assert (reloads.digest, reloads.loaded_at_s, reloads.restart_needed) == ("c", 3.0, ("listen",))
    assert reloads.last_failure is failure


def test_what_a_failure_knows() -> None:
    """The problems of bad files; of anything else only the words. The time makes no difference between two."""
    bad = ConfigError([Problem(1, 2, "a", "wrong")], "x.yaml")
    assert Failure(1.0, bad, "d").config is bad and Failure(1.0, OSError("no"), "d").config is None
    assert Failure(1.0, OSError("no"), "d").same_as(Failure(2.0, OSError("no"), "d"))
    assert not Failure(1.0, OSError("no"), "d").same_as(Failure(1.0, OSError("no"), "e"))
    assert not Failure(1.0, OSError("no"), "d").same_as(Failure(1.0, OSError("yes"), "d"))
    assert not Failure(1.0, OSError("no"), "d").same_as(None)
