"""Tests of the parts of the drill that compute."""
