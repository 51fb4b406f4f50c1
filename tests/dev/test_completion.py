"""Completion scripts: what bash really offers, and that other shells can read theirs."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.dev.completion import SCRIPTS, bash, fish, read, zsh


def parser() -> argparse.ArgumentParser:
    """A command line with every kind of argument."""
    made = argparse.ArgumentParser(prog="fusebox")
    made.add_argument("--version", action="version", version="1")
    commands = made.add_subparsers(dest="command")
    env = commands.add_parser("env", help="print; it's 100%% [a: b]")
    env.add_argument("--shell", "-s", choices=("sh", "fish"), help="which")
    env.add_argument("--port", type=int, metavar="PORT")
    env.add_argument("--hidden", help=argparse.SUPPRESS)
    serve = commands.add_parser("serve", help="serve")
    serve.add_argument("--config", type=Path, metavar="FILE")
    serve.add_argument("--strict", action="store_true")
    commands.add_parser("completion", help="a script").add_argument("shell", choices=("bash", "zsh"))
    run = commands.add_parser("run", help="run")
    run.add_argument("--show", action="store_true")
    run.add_argument("words", nargs=argparse.REMAINDER)
    return made


def offered(*words: str) -> list[str]:
    """What bash offers for the last of `words`, as it calls the function."""
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"{bash(parser())}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _fusebox; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "--norc", "-uc", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "words_offered"),
    [
        (("fusebox", ""), ["env", "serve", "completion", "run"]),
        (("fusebox", "s"), ["serve"]),
        (("fusebox", "--v"), ["--version"]),
        (("fusebox", "env", "--"), ["--help", "--shell", "--port"]),
        (("fusebox", "env", "--shell", ""), ["sh", "fish"]),
        (("fusebox", "env", "-s", "f"), ["fish"]),
        (("fusebox", "env", "--shell", "="), ["sh", "fish"]),
        (("fusebox", "env", "--shell", "=", "f"), ["fish"]),
        (("fusebox", "serve", "--strict", "--c"), ["--config"]),
        (("fusebox", "completion", "z"), ["zsh"]),
        (("fusebox", "run", "--s"), ["--show"]),
        (("fusebox", "nobody", ""), []),
    ],
)
def test_bash_offers(words: tuple[str, ...], words_offered: list[str]) -> None:
    """Commands, options, choices; also for an option and its value with = between."""
    assert offered(*words) == words_offered


@pytest.mark.parametrize("words", [("fusebox", "serve", "--config", ""), ("fusebox", "serve", "--config", "=", "x")])
def test_bash_is_left_to_offer_files(words: tuple[str, ...]) -> None:
    """The function offers nothing, and says that files are to be offered then."""
    assert offered(*words) == []
    assert re.search(r"^complete .*-o default -F _fusebox fusebox$", bash(parser()), re.MULTILINE)


def test_bash_offers_commands_to_run() -> None:
    """After the two dashes it is a command of the machine's; before them, they are offered."""
    assert "bash" in offered("fusebox", "run", "--", "bas")
    assert offered("fusebox", "run", "") == ["--"]
    assert offered("fusebox", "run", "--", "python", "x") == []


def test_what_is_not_to_be_shown_is_not_offered() -> None:
    """An option without a help text of its own kind is nobody's business."""
    assert all("--hidden" not in script(parser()) for script in SCRIPTS.values())


def test_every_command_and_option_is_in_every_script() -> None:
    """None is forgotten, whichever the shell."""
    top, commands = read(parser())
    assert [command.name for command in commands] == ["env", "serve", "completion", "run"]
    for command in (top, *commands):
        for flag in command.flags:
            assert flag in bash(parser()) and flag in zsh(parser())
            assert re.search(rf"-[ls] {flag.lstrip('-')}\b", fish(parser()))


def test_descriptions_are_escaped() -> None:
    """Quotes, brackets and colons have a meaning of their own in two of the shells."""
    assert "'env:print; it'\\''s 100% [a: b]'" in zsh(parser())
    assert "-a env -d 'print; it\\'s 100% [a: b]'" in fish(parser())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_can_read_its_script(shell: str, tmp_path: Path) -> None:
    """No mistake in its syntax."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / "script"
    file.write_text(SCRIPTS[shell](parser()))
    assert subprocess.run([shell, "-n", str(file)], capture_output=True, check=False).stderr == b""
