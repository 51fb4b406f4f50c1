"""Completion scripts for shells, made from the argparse parser: they offer what it takes, and nothing else."""

from __future__ import annotations

import argparse
import shlex
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_FILES = ("FILE", "LOG")
"""What the parsers call values that are files."""

Takes = Literal["nothing", "choices", "file", "text", "command"]


@dataclass(frozen=True, slots=True)
class Argument:
    """An option, or a positional one (without `flags`): what may stand there."""

    flags: tuple[str, ...]
    takes: Takes
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command's name (empty: before any command), what it is for, and what it takes."""

    name: str
    help: str
    arguments: tuple[Argument, ...]

    @property
    def flags(self) -> tuple[str, ...]:
        """Every spelling of every option."""
        return tuple(flag for one in self.arguments for flag in one.flags)

    @property
    def positional(self) -> Argument | None:
        """What the first positional argument may be."""
        return next((one for one in self.arguments if not one.flags), None)


def read(parser: ArgumentParser) -> tuple[Command, tuple[Command, ...]]:
    """What stands before any command, and the commands."""
    commands: list[Command] = []
    own: list[Argument] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, sub in action.choices.items():
                arguments = tuple(_argument(one) for one in sub._actions if one.help != argparse.SUPPRESS)
                commands.append(Command(name, _told(helps.get(name)), arguments))
        else:
            own.append(_argument(action))
    return Command("", parser.description or "", tuple(own)), tuple(commands)


def _argument(action: argparse.Action) -> Argument:
    choices = tuple(map(str, action.choices or ()))
    takes: Takes = "text"
    if action.nargs == argparse.REMAINDER:
        takes = "command"
    elif action.nargs == 0:
        takes = "nothing"
    elif choices:
        takes = "choices"
    elif action.type is Path or action.metavar in _FILES:
        takes = "file"
    return Argument(tuple(action.option_strings), takes, choices, _told(action.help))


def _told(help_text: str | None) -> str:
    """A help text as it is shown: argparse has percent signs doubled."""
    return (help_text or "").replace("%%", "%")


# bash


_BASH = """\
# bash completion for fusebox. To have it: eval "$(fusebox completion bash)", in ~/.bashrc to keep it.
_fusebox() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" command='' ended='' i
    COMPREPLY=()
    # bash takes --shell=fish for three words.
    if [[ $word == = ]]; then word=''
    elif [[ $before == = ]]; then before="${{COMP_WORDS[COMP_CWORD-2]}}"
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${{COMP_WORDS[i]}} == -- ]]; then ended=$i
        elif [[ -z $command && ${{COMP_WORDS[i]}} != -* ]]; then command="${{COMP_WORDS[i]}}"
        fi
    done
    local words='' flags=''
    # With nothing to offer, bash offers files (complete -o default).
    case "$command $before" in
{values}
    esac
    case "$command" in
{commands}
    esac
    if [[ $word == -* ]]; then words=$flags; fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o bashdefault -o default -F _fusebox fusebox
"""


def bash(parser: ArgumentParser) -> str:
    """The script for bash (3.2 and later)."""
    top, commands = read(parser)
    values: list[str] = []
    for command in (top, *commands):
        for one in command.arguments:
            if one.flags and one.takes != "nothing":
                patterns = "|".join(f"'{command.name} {flag}'" for flag in one.flags)
                does = (
                    "return"
                    if one.takes != "choices"
                    else f'COMPREPLY=($(compgen -W {_words(one.choices)} -- "$word")); return'
                )
                values.append(f"        {patterns}) {does} ;;")
    cases = [f"        '') words={_words(command.name for command in commands)} flags={_words(top.flags)} ;;"]
    for command in commands:
        first = command.positional
        if first is not None and first.takes == "command":
            cases.append(
                f"        {command.name}) if [[ -n $ended ]]; then"
                ' if ((COMP_CWORD == ended + 1)); then COMPREPLY=($(compgen -c -- "$word")); fi; return; fi;'
                f" words='--' flags={_words(command.flags)} ;;"
            )
            continue
        words = _words(first.choices) if first is not None and first.choices else "''"
        cases.append(f"        {command.name}) words={words} flags={_words(command.flags)} ;;")
    return _BASH.format(values="\n".join(values), commands="\n".join(cases))


def _words(words: Iterator[str] | tuple[str, ...]) -> str:
    return shlex.quote(" ".join(words))


# zsh


def zsh(parser: ArgumentParser) -> str:
    """The script for zsh: for a file `_fusebox` in its fpath, or to be evaluated after compinit."""
    top, commands = read(parser)
    flags = " ".join(_zsh_quoted(spec) for one in top.arguments for spec in _zsh_specs(one))
    lines = [
        "#compdef fusebox",
        '# zsh completion for fusebox. To have it: eval "$(fusebox completion zsh)", in ~/.zshrc after compinit to keep it.',
        "_fusebox() {",
        "    local -a commands",
        "    if (( CURRENT == 2 )); then",
        "        commands=(",
        *(f"            {_zsh_quoted(f'{one.name}:{one.help}')}" for one in commands),
        "        )",
        "        _describe -t commands command commands",
        f"        [[ $words[2] == -* ]] && _arguments {flags}",
        "        return",
        "    fi",
        "    local command=$words[2]",
        "    shift words",
        "    (( CURRENT-- ))",
        "    case $command in",
    ]
    for command in commands:
        specs = " ".join(_zsh_quoted(spec) for one in command.arguments for spec in _zsh_specs(one))
        lines.append(f"        {command.name}) _arguments {specs} ;;")
    lines += ["    esac", "}", "compdef _fusebox fusebox"]
    return "\n".join(lines) + "\n"


def _zsh_specs(one: Argument) -> Iterator[str]:
    """Specifications for ``_arguments`` (zshcompsys(1)), not yet quoted."""
    value = {"file": ":file:_files", "text": ":value: ", "command": "::command:_normal", "nothing": ""}.get(
        one.takes, f":value:({' '.join(one.choices)})"
    )
    if not one.flags:
        yield f"*{value}"
    told = one.help
    for char in "\\[]:":
        told = told.replace(char, f"\\{char}")
    for flag in one.flags:
        yield f"{flag}[{told}]{value}"


def _zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# fish


def fish(parser: ArgumentParser) -> str:
    """The script for fish."""
    top, commands = read(parser)
    lines = ["# fish completion for fusebox. To have it: fusebox completion fish | source", "complete -c fusebox -f"]
    for command in (top, *commands):
        chosen = f"__fish_seen_subcommand_from {command.name}" if command.name else "__fish_use_subcommand"
        if command.name:
            lines.append(
                f"complete -c fusebox -n __fish_use_subcommand -a {command.name} -d {_fish_quoted(command.help)}"
            )
        for one in command.arguments:
            lines.append(f"complete -c fusebox -n '{chosen}' {_fish_rest(one)}")
    return "\n".join(lines) + "\n"


def _fish_rest(one: Argument) -> str:
    parts = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in one.flags]
    if one.flags and one.takes != "nothing":
        parts.append("-r")
    if one.takes in ("file", "command"):
        parts.append("-F")
    elif one.choices:
        parts.append(f"-a {_fish_quoted(' '.join(one.choices))}")
    return " ".join([*parts, f"-d {_fish_quoted(one.help)}"])


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


SCRIPTS = {"bash": bash, "zsh": zsh, "fish": fish}
"""By shell: what makes its script."""
