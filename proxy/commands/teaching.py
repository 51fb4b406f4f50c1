"""How ``--help`` is laid out: prose is wrapped, examples stay as they are written."""

from __future__ import annotations

from argparse import HelpFormatter


class Teaching(HelpFormatter):
    """argparse's own layout, but for a text that begins with ``example``: its lines are kept."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example"):
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)
