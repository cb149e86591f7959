# SPDX-License-Identifier: MIT
"""The parser of a command line: its command is known before the rest of it is parsed."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from kwalk.cli.parser import Parser
from kwalk.version import __version__

# name -> (one line of help); the module kwalk.commands.<name> is imported only when it is run.
COMMANDS = {
    "count": "count the stacks that lead to a kernel function (the default: kwalk FUNC)",
    "stream": "print every call of a kernel function with the stack that led to it",
    "top": "watch the stacks that lead to a kernel function, live",
    "record": "count into a file, to look at later in every way",
    "report": "show a recording as text, tree, flame graph, or for other tools",
    "diff": "compare two recordings: what got more, what got less",
    "info": "say what a recording is of, and what it lost",
    "compare": "show helper and manual on the same calls, side by side, and what each costs",
    "bench": "measure what tracing a function costs a workload, by each method",
    "functions": "list the kernel functions of a name or pattern, and why some can't be traced",
    "doctor": "say what this kernel offers, what kwalk will use, and why not more",
    "completion": "print the script by which bash, zsh or fish complete kwalk's words",
    "lab": "run a command in a throw-away virtual machine with a kernel of your choice",
}

DEFAULT = "count"
# Options of kwalk itself.
OWN = ("-h", "--help", "-V", "--version")


def build_parser(name: str | None) -> Parser:
    """Return the parser of ``kwalk``, with the options of command ``name`` only.

    :param name: The command that is to be run, or None where only the names are needed.
    """
    parser = Parser(
        prog="kwalk",
        usage="kwalk FUNC... [options]\n       kwalk COMMAND [options]",
        description="Show the kernel call stacks that lead to a kernel function.",
        epilog="`kwalk ip_rcv` counts until Ctrl-C. `kwalk COMMAND --help` says more of a command.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"kwalk {__version__}")
    subparsers = parser.add_subparsers(dest="name", metavar="COMMAND", required=True, prog="kwalk")
    for command, text in COMMANDS.items():
        sub = subparsers.add_parser(command, help=text, description=text[0].upper() + text[1:])
        if command == name:
            module = importlib.import_module(f"kwalk.cli.commands.{command}")
            module.command.add_arguments(sub)
            sub.set_defaults(run=module.command.run)
    return parser


def command_parser(name: str) -> Parser:
    """Return the parser of a command alone, as it is within ``build_parser``."""
    found = next(
        action.choices[name]
        for action in build_parser(name)._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    assert isinstance(found, Parser)
    return found


def spell_out(words: Sequence[str]) -> list[str]:
    """Give ``--verify`` its value, so that argparse does not take the function for it.

    Names of functions begin with no digit, values do.
    """
    end = list(words).index("--") if "--" in words else len(words)
    following = [*words[1:end], ""]
    own = [
        "--verify=1" if word == "--verify" and not value[:1].isdigit() else word
        for word, value in zip(words[:end], following, strict=False)
    ]
    return [*own, *words[end:]]


def named(words: Sequence[str]) -> str | None:
    """Return the command or function that a command line begins with; None where there is none."""
    if not words or words[0] in OWN:
        return None
    if not words[0].startswith("-"):
        return words[0]
    # Options of a function alone, whose values may have the names of commands.
    return command_parser(DEFAULT).first_argument(words)
