# SPDX-License-Identifier: MIT
"""Parsers of command lines: argparse's, less ready to guess, and clearer about what they refuse."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from kwalk.support.stdio import write

_TRIED_WIDTH = 80


class Parser(argparse.ArgumentParser):
    """A parser that takes options in full only; those of its commands do as well."""

    def __init__(self, **how: Any) -> None:
        self._shown = False
        super().__init__(**{"allow_abbrev": False, **how})

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Return what the words mean, or end the process with what is wrong with them.

        What is not known is told by the command that was called, not by ``kwalk`` itself.
        """
        found, unknown = self.parse_known_args(words)
        called = _called(self, found) if unknown else self
        if unknown and not _take(called, found, unknown):
            called.error(f"unrecognized arguments: {' '.join(unknown)}; see {called.prog} --help")
        return found

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Return the value of an argument; ``--`` behind ``=`` is one, which argparse drops."""
        if arg_strings == ["--"] and action.option_strings:
            value = self._get_value(action, "--")
            self._check_value(action, value)
            return value
        return super()._get_values(action, arg_strings)

    def format_help(self) -> str:
        """Return the help, as wide as the terminal."""
        self._shown = True
        return super().format_help()

    def format_usage(self) -> str:
        """Return the usage, as wide as the terminal."""
        self._shown = True
        return super().format_usage()

    def _get_formatter(self) -> argparse.HelpFormatter:
        """Return what formats help; to try each option as it is declared, any width will do.

        To find out the terminal's, argparse imports shutil, and that a good deal more.
        """
        width = None if self._shown else _TRIED_WIDTH
        return self.formatter_class(prog=self.prog, width=width)  # type: ignore[call-arg]

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print; help that cannot be written is an error."""
        if file is sys.stdout:
            write(message)
        else:
            super()._print_message(message, file)

    def first_argument(self, words: Sequence[str]) -> str | None:
        """Return the first word that is neither an option nor the value of one."""
        valued = {
            name for action in self._actions if action.nargs != 0 for name in action.option_strings
        }
        rest = iter(words)
        for word in rest:
            if not word.startswith("-"):
                return word
            if word in valued:
                next(rest, None)
        return None


def _take(parser: argparse.ArgumentParser, found: argparse.Namespace, words: Sequence[str]) -> bool:
    """Take words behind an option for files like those before it; return whether they can be."""
    if any(word.startswith("-") for word in words):
        return False
    for action in parser._get_positional_actions():
        if action.metavar == "FILE" and action.nargs == "*":
            setattr(found, action.dest, [*getattr(found, action.dest), *words])
            return True
    return False


def _called(parser: argparse.ArgumentParser, found: argparse.Namespace) -> argparse.ArgumentParser:
    """Return the parser of the command, or of its command, that words were for."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and getattr(found, action.dest):
            return _called(action.choices[getattr(found, action.dest)], found)
    return parser
