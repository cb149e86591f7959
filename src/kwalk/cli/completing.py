# SPDX-License-Identifier: MIT
"""What may come next on a command line, for the script of ``kwalk completion``."""

from __future__ import annotations

import argparse
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from argcomplete.completers import DirectoriesCompleter, FilesCompleter, SuppressCompleter
from argcomplete.finders import CompletionFinder
from argcomplete.lexers import split_line

from kwalk.cli import parsers, values
from kwalk.kernel import tracefs
from kwalk.support.printable import plain

PROC = "/proc"
Candidates = Iterable[str] | Mapping[str, str]
# Of arguments that are text as it comes: no name of a file.
_NO_FILES = {"TEXT", "ARGS", "A,B", "NAME", "COMMAND"}


def answer() -> None:
    """Write what may come next where the script reads it, and end the process."""
    point = int(os.environ["COMP_POINT"])
    line, parser = parsed(os.environ["COMP_LINE"][:point])
    os.environ |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    for each in _with_children(parser):
        for action in each._actions:
            if completer := _completer(action):
                action.completer = completer  # type: ignore[attr-defined]
    # Options at once only where nothing but a name that nobody can guess may come.
    always = "long" if _first_metavar(parser) in ("FUNC", "PATTERN") else False
    _Finder()(
        parser,
        always_complete_options=always,
        default_completer=SuppressCompleter(),
    )


class _Finder(CompletionFinder):
    """The library's, but for what it does to many names: to look each up in a list of them all."""

    def filter_completions(self, completions: list[str]) -> list[str]:
        """Leave out what is there twice, and what no shell should show: control characters."""
        return [each for each in dict.fromkeys(completions) if plain(each) == each]


def parsed(line: str) -> tuple[str, argparse.ArgumentParser]:
    """Return the line, as argparse is to see it, and the parser for it.

    :param line: As far as the cursor.
    """
    # As parsers.spell_out(): --verify takes a value only where a number follows.
    line = re.sub(r"( --verify)(?=\s+(?!\d))", r"\1=1", line)
    head, dashes, workload = line.partition(" -- ")
    if dashes:
        return f"{head.split()[0]} {workload}", _workload_parser()
    _, word, _, words, _ = split_line(line)
    name = parsers.named(words[1:])
    if name in parsers.COMMANDS:
        return line, parsers.build_parser(name)
    if name is None and len(words) == 1 and not word.startswith("-"):
        return line, _command_parser()
    parser = parsers.command_parser(parsers.DEFAULT)
    parser.add_argument("--version", action="version", version="", help="show kwalk's version")
    return line, parser


def _command_parser() -> argparse.ArgumentParser:
    """Of the first word: a command, or a function for the command that may be left out."""
    parser = argparse.ArgumentParser(add_help=False)
    action = parser.add_argument("word", metavar="WORD")

    def words(prefix: str, **_: object) -> Candidates:
        # Functions would drown the commands.
        commands = {
            name: text for name, text in parsers.COMMANDS.items() if name.startswith(prefix)
        }
        return commands or dict.fromkeys(targets(prefix), "kernel function")

    action.completer = words  # type: ignore[attr-defined]
    return parser


def _workload_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("words", metavar="COMMAND", nargs=argparse.REMAINDER)
    return parser


def _with_children(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    children = [
        child
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for each in action.choices.values()
        for child in _with_children(each)
    ]
    return [parser, *children]


def _first_metavar(parser: argparse.ArgumentParser) -> object:
    """Of the first argument of the command, which is the only one of the parsers that has any."""
    for each in reversed(_with_children(parser)):
        for action in each._get_positional_actions():
            if not isinstance(action, argparse._SubParsersAction):
                return action.metavar
    return None


def _completer(action: argparse.Action) -> Callable[..., Candidates] | None:
    """Return what completes an argument's value; None where its choices do, or nothing does."""
    if hasattr(action, "completer") or action.choices is not None or action.nargs == 0:
        return None
    if action.metavar in ("FUNC", "PATTERN"):
        return lambda prefix, **_: targets(prefix)
    if action.metavar in ("PID", "TID"):
        return lambda prefix, **_: processes()
    if action.metavar == "COMMAND":
        return programs
    if action.dest in _SEVERAL:
        return _with_commas(_SEVERAL[action.dest])
    if "--kernel" in action.option_strings:
        return lambda prefix, **_: [*_kernels(), *FilesCompleter()(prefix)]
    if action.metavar == "DIR":
        return DirectoriesCompleter()
    if action.type in (None, Path, values.output) and action.metavar not in _NO_FILES:
        return FilesCompleter()
    return None


def targets(prefix: str) -> list[str]:
    """Return what can be traced and begins so."""
    found = tracefs.functions(prefix)
    return found + tracefs.tracepoints(prefix) if prefix.startswith("t:") else found


def processes() -> dict[str, str]:
    """Return the processes: number to name."""
    found = {}
    for entry in os.scandir(PROC):
        if entry.name.isdecimal():
            try:
                found[entry.name] = _name_of(entry.path)
            except OSError:
                continue  # it has ended
    return found


def _name_of(folder: str) -> str:
    """Return a task's name, which can be any bytes, as a line of text."""
    name = Path(folder, "comm").read_bytes().removesuffix(b"\n")
    return plain(name.decode(errors="replace"))


def methods(prefix: str) -> list[str]:
    """Return what ``kwalk bench`` can compare."""
    from kwalk.bench.methods import ATTACHES, NONE, OTHERS, OWN

    return [NONE, *OWN, *OTHERS, *(f"{name}:{way}" for name in OWN for way in ATTACHES)]


def namespaces(prefix: str) -> list[str]:
    """Return the network namespaces that have names."""
    from kwalk.options.filter_names import NETNS

    return _folders(NETNS, folders=False)


def groups(prefix: str) -> list[str]:
    """Return the cgroups of version 2 on the level that has been come to."""
    from kwalk.kernel.cgroups import hierarchy

    mounted = hierarchy()
    above = prefix.rpartition("/")[0]
    if not mounted or prefix.startswith("/"):
        return list(DirectoriesCompleter()(prefix))
    return [f"{above}/{name}".lstrip("/") for name in _folders(mounted[0] / above)]


def _folders(path: Path, folders: bool = True) -> list[str]:
    """Return the names of what is in a folder; none where it is not there."""
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() or not folders)
    except OSError:
        return []


_SEVERAL: dict[str, Callable[[str], Iterable[str]]] = {
    "methods": methods,
    "netns": namespaces,
    "cgroups": groups,
    "comms": lambda prefix: sorted(set(processes().values())),
}


def _with_commas(find: Callable[[str], Iterable[str]]) -> Callable[..., Candidates]:
    """Return what completes the last of several values with commas between them."""

    def complete(prefix: str, **_: object) -> list[str]:
        before, comma, last = prefix.rpartition(",")
        return [f"{before}{comma}{word}" for word in find(last) if word.startswith(last)]

    return complete


def programs(prefix: str, parsed_args: argparse.Namespace, **_: object) -> Candidates:
    """Return commands, as the first word of a command line; files afterwards."""
    if getattr(parsed_args, "words", None) or "/" in prefix:
        return FilesCompleter()(prefix)
    found = set()
    for folder in os.get_exec_path():
        if os.path.isdir(folder):
            found |= {name for name in os.listdir(folder) if name.startswith(prefix)}
    return sorted(name for name in found if shutil.which(name))


def _kernels() -> tuple[str, ...]:
    from kwalk.lab import kernels

    return tuple(kernels.NAMES)
