"""What the documents say can be done: examples that are files are good files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.config.parse import parse

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def policies() -> list[tuple[str, str]]:
    """Every YAML block that is a whole file, with the page and line where it begins."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for block in re.finditer(r"^```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            if re.search(r"^routes:", block[1], re.MULTILINE) and re.search(r"^providers:", block[1], re.MULTILINE):
                found.append((f"{page.name}:{text.count(chr(10), 0, block.start()) + 2}", block[1]))
    return found


@pytest.mark.parametrize(("where", "text"), policies(), ids=lambda value: value if "\n" not in value else "")
def test_policies_of_the_documents_are_good(where: str, text: str) -> None:
    """Nothing is wrong with them; a reader may copy them."""
    assert parse(text, source=where).routes


def test_the_cookbook_is_there() -> None:
    """The page on the policy holds as many whole files as it has recipes."""
    assert sum(where.startswith("policy.md") for where, _ in policies()) >= 9
