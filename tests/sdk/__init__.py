"""The real SDKs, unchanged, through Fusebox as a real process, to an emulated provider."""

import pytest

# The comparison of requests lives outside the test files, and its failures must say as much as theirs.
pytest.register_assert_rewrite("tests.sdk.gateway")
