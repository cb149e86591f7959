# SPDX-License-Identifier: MIT
"""The commands; the command of a command line is found before the rest is parsed."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import Protocol

from kwalk.cli.options import CommandLine, Kind, Option
from kwalk.cli.parser import first_argument

# name -> summary; the module kwalk.cli.commands.<name> is imported only when it is run.
COMMANDS = {
    "count": "count the stacks that lead to a kernel function (the default: kwalk FUNC)",
    "stream": "print each call of a kernel function with its stack",
    "top": "show the stacks that lead to a kernel function, live",
    "record": "record stack counts in a file, for kwalk report",
    "report": "show a recording as text, tree or flame graph, or convert it for other tools",
    "diff": "compare two recordings: which stacks became more or less frequent",
    "info": "show the metadata and the ledger of a recording",
    "compare": "compare stacks and overhead of helper and manual on the same calls",
    "bench": "measure the overhead of tracing a function on a workload, by each method",
    "functions": "list kernel functions by name or pattern, and why some cannot be traced",
    "doctor": "report which tracing features this kernel has and which of them kwalk uses",
    "completion": "print the completion script for bash, zsh or fish",
    "lab": "run a command in a disposable virtual machine with a kernel of your choice",
}

DEFAULT = "count"
VERSION = Option(("-V", "--version"), "show program's version number and exit", kind=Kind.VERSION)
# Options of kwalk itself.
OWN = ("-h", "--help", *VERSION.names)


def kwalk() -> CommandLine:
    """Return the syntax of ``kwalk`` itself, with the names of its commands."""
    return CommandLine(
        prog="kwalk",
        usage="FUNC... [options]\n       kwalk COMMAND [options]",
        description="Show the kernel call stacks that lead to a kernel function.",
        options=(VERSION,),
        epilog="`kwalk ip_rcv` counts until Ctrl-C. `kwalk COMMAND --help` describes a command.",
        children={name: CommandLine(f"kwalk {name}", text) for name, text in COMMANDS.items()},
        child="COMMAND",
    )


class Command(Protocol):
    """The object ``command`` of each module of ``kwalk.cli.commands``."""

    @property
    def line(self) -> CommandLine:
        """Syntax; summary and description come from ``COMMANDS``."""

    def run(self, args: argparse.Namespace) -> int:
        """Run the command; return the exit code, or raise KwalkError."""


def command(name: str) -> Command:
    """Import a command's module; return the command."""
    found: Command = importlib.import_module(f"kwalk.cli.commands.{name}").command
    return found


def command_line(name: str) -> CommandLine:
    """Import a command's module; return its syntax."""
    text = COMMANDS[name]
    return command(name).line._replace(summary=text, description=text[0].upper() + text[1:])


def spell_out(words: Sequence[str]) -> list[str]:
    """Add the value 1 to ``--verify``, so that argparse does not take the function for its value.

    Values begin with a digit, names of functions do not.
    """
    end = list(words).index("--") if "--" in words else len(words)
    following = [*words[1:end], ""]
    own = [
        "--verify=1" if word == "--verify" and not value[:1].isdigit() else word
        for word, value in zip(words[:end], following, strict=False)
    ]
    return [*own, *words[end:]]


def named(words: Sequence[str]) -> str | None:
    """Return the first argument, a command or a function; None if there is none."""
    if not words or words[0] in OWN:
        return None
    if not words[0].startswith("-"):
        return words[0]
    # Options without a command belong to DEFAULT; their values may be names of commands.
    return first_argument(command_line(DEFAULT), words)
