"""Health: facts that somebody sets."""

from __future__ import annotations

from proxy.observe.health import Health


def test_a_new_process_is_not_ready() -> None:
    """Readiness is a fact that somebody sets."""
    health = Health()
    assert (health.ready, health.draining, health.active) == (False, False, 0)
