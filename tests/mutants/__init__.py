"""Faults put into the breaker on purpose: its tests must find every one. Run by `python -m tests.mutants`."""
