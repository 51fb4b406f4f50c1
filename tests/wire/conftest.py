"""Property tests run with few examples by default; `FUSEBOX_TEST_PROFILE=deep` looks longer."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# No deadlines: a busy machine is no bug. The strategies build texts, which Hypothesis may find slow on such a machine.
settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("FUSEBOX_TEST_PROFILE", "quick"))
