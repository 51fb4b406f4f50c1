"""The catalogue of faults fits the code: a fault that can no longer be put in finds nothing out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS, Mutant

ROOT = Path(__file__).parent.parent.parent


def test_each_fault_has_a_name_of_its_own() -> None:
    """They are called by it."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 15


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_fault_can_be_put_in(mutant: Mutant) -> None:
    """What it replaces stands exactly once, and what comes out is Python that says something else."""
    text = (ROOT / mutant.path).read_text()
    assert text.count(mutant.old) == 1
    changed = ast.dump(ast.parse(text.replace(mutant.old, mutant.new)))
    assert changed != ast.dump(ast.parse(text))
