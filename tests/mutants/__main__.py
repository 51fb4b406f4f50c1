"""Puts each fault of the catalogue into a copy of the package, runs the breaker's tests on it, and prints who found it.

    python -m tests.mutants            all
    python -m tests.mutants NAME...    some

Exit code 0: every fault was found. 1: one lived, or the tests do not even pass on the package as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.catalogue import MUTANTS, Mutant

ROOT = Path(__file__).parent.parent.parent
TESTS = ("test_window.py", "test_breaker.py", "test_breaker_modes.py", "test_breaker_model.py")
HELPERS = ("fakes.py",)
TIMEOUT_S = 300.0
"""For one fault; a fault may make a test loop."""

NOT_MUTATED = Mutant("(none)", "proxy/attempt/breaker.py", "", "")


def run(mutant: Mutant) -> list[str]:
    """The tests that fail with this fault in place; "timeout" or "does not run" when there is no report of them."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "proxy", copy / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "tests" / "attempt").mkdir(parents=True)
        for name in (*TESTS, *HELPERS):
            shutil.copy(ROOT / "tests" / "attempt" / name, copy / "tests" / "attempt" / name)
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / mutant.path
        if mutant.old:
            text = path.read_text()
            if text.count(mutant.old) != 1:
                raise SystemExit(f"{mutant.name}: the text to replace stands {text.count(mutant.old)} times in {path}")
            path.write_text(text.replace(mutant.old, mutant.new))
        # The copy's own name for itself is what is imported, whatever is installed.
        told = "import proxy; print(proxy.__file__)"
        environment = os.environ | {"FUSEBOX_TEST_PROFILE": "mutants", "PYTHONPATH": folder, "PYTHONHASHSEED": "0"}
        where = subprocess.run(
            [sys.executable, "-c", told], cwd=copy, env=environment, capture_output=True, text=True, check=True
        )
        assert Path(where.stdout.strip()).is_relative_to(copy.resolve()) or where.stdout.startswith(folder)
        command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider"]
        command += [f"tests/attempt/{name}" for name in TESTS]
        try:
            done = subprocess.run(
                command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return ["timeout"]
    failed = re.findall(r"^FAILED tests/attempt/\w+\.py::(\w+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1) or (done.returncode == 1 and not failed):
        return ["does not run"]
    return list(dict.fromkeys(failed))


def line(name: str, killers: Sequence[str]) -> str:
    """A row of the table: how many tests found the fault, which of the two models did, and the first of the others."""
    models = ["model" if one == "TestAgainstAModel" else "alive" for one in killers if one.startswith("Test")]
    others = [one for one in killers if not one.startswith("Test")]
    verdict = f"found by {len(killers)}" if killers else "LIVES"
    return f"{name:36} {verdict:12} {'+'.join(models) or '-':12} {others[0] if others else '-'}"


def main(names: Sequence[str]) -> int:
    """Runs the faults called `names`, all without any."""
    unknown = set(names) - {one.name for one in MUTANTS}
    if unknown:
        print(f"no such fault: {', '.join(sorted(unknown))}")
        return 2
    if failing := run(NOT_MUTATED):
        print(f"without any fault these tests fail: {', '.join(failing)}")
        return 1
    print(f"{'fault':36} {'':12} {'models':12} first other test")
    chosen = [one for one in MUTANTS if not names or one.name in names]
    lived = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for mutant, killers in zip(chosen, pool.map(run, chosen), strict=True):
            print(line(mutant.name, killers), flush=True)
            lived += not killers or killers == ["does not run"]
    print(f"{len(chosen) - lived} of {len(chosen)} found")
    return 1 if lived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
