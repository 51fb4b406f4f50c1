"""Broken files, as people write them at three in the morning: each with the exact report that ``fusebox check`` prints.

``broken/NAME.yaml`` is the file and ``broken/NAME.txt`` the report. After a change of wording, write the reports anew
with ``python -m tests.config.test_broken``, and read each one as somebody who has been woken for it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from proxy.commands.check import check_file
from proxy.config.report import as_text

BROKEN = Path(__file__).parent / "broken"
NAMES = sorted(path.stem for path in BROKEN.glob("*.yaml"))

ENVIRONMENT = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "DEEPSEEK_API_KEY"), "k")
NOW_S = 1_795_000_000.0
"""18 November 2026."""


def report(name: str) -> str:
    """What is printed of the file; the current folder must be that of the files, so that paths are short."""
    checked = check_file(Path(f"{name}.yaml"), ENVIRONMENT, NOW_S)
    assert checked.problems, name
    return as_text([checked], strict=False) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_report_of_a_broken_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Line, column, what is wrong and what to do, word for word."""
    monkeypatch.chdir(BROKEN)
    assert report(name) == (BROKEN / f"{name}.txt").read_text(encoding="utf-8")


def test_there_are_many_and_each_has_its_report() -> None:
    """None is left without a report, and no report without its file."""
    assert len(NAMES) >= 100
    assert sorted(path.stem for path in BROKEN.glob("*.txt")) == NAMES


def test_no_report_tells_a_pasted_key() -> None:
    """Nor does it tell a part of one."""
    keys = {key for name in NAMES for key in re.findall(r"sk-[\w-]+", (BROKEN / f"{name}.yaml").read_text("utf-8"))}
    assert keys
    for name in NAMES:
        told = (BROKEN / f"{name}.txt").read_text("utf-8")
        assert not any(key[start : start + 8] in told for key in keys for start in range(len(key) - 7)), name


if __name__ == "__main__":
    os.chdir(BROKEN)
    for each in NAMES:
        (BROKEN / f"{each}.txt").write_text(report(each), encoding="utf-8")
