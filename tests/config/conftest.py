"""Property tests run with few examples by default; `FUSEBOX_TEST_PROFILE=deep` looks longer."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("FUSEBOX_TEST_PROFILE", "quick"))
