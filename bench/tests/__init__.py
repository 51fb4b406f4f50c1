"""Tests of the benchmark's own arithmetic: a harness that counts wrongly proves nothing."""
