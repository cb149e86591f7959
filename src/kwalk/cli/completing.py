# SPDX-License-Identifier: MIT
"""Answers to shells: candidates for the next word, for the script of ``kwalk completion``."""

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

from kwalk.cli import parsers
from kwalk.cli.options import CommandLine, Complete, Kind, Option
from kwalk.cli.parser import build
from kwalk.kernel import tracefs
from kwalk.support.printable import plain

PROC = "/proc"
Candidates = Iterable[str] | Mapping[str, str]


def answer() -> None:
    """Write the candidates to where the script reads them, and end the process."""
    point = int(os.environ["COMP_POINT"])
    text, line = parsed(os.environ["COMP_LINE"][:point])
    os.environ |= {"COMP_LINE": text, "COMP_POINT": str(len(text))}

    def declared(option: Option, action: argparse.Action) -> None:
        if completer := _completer(option):
            action.completer = completer  # type: ignore[attr-defined]

    # Without a prefix, offer options only if the argument is a function name, which is not guessed.
    first = next((option.complete for option in line.each() if option.is_argument), None)
    _Finder()(
        build(line, declared),
        always_complete_options="long" if first is Complete.TARGETS else False,
        default_completer=SuppressCompleter(),
    )


class _Finder(CompletionFinder):
    """argcomplete's finder with a filter whose time does not grow with the square of the names."""

    def filter_completions(self, completions: list[str]) -> list[str]:
        """Drop duplicates, and names with control characters."""
        return [each for each in dict.fromkeys(completions) if plain(each) == each]


def parsed(text: str) -> tuple[str, CommandLine]:
    """Return the command line for the parser of its command, and the command.

    :param text: Command line up to the cursor.
    """
    # Like parsers.spell_out(): --verify takes a value only where a number follows.
    text = re.sub(r"( --verify)(?=\s+(?!\d))", r"\1=1", text)
    head, dashes, workload = text.partition(" -- ")
    if dashes:
        return f"{head.split()[0]} {workload}", _WORKLOAD
    _, word, _, words, _ = split_line(text)
    name = parsers.named(words[1:])
    if name in parsers.COMMANDS:
        return _descended(_without(text, name), parsers.command_line(name))
    if name is None and len(words) == 1 and not word.startswith("-"):
        return text, _FIRST
    line = parsers.command_line(parsers.DEFAULT)
    version = Option(("--version",), "show kwalk's version", kind=Kind.FLAG)
    return text, line._replace(options=(*line.options, version))


def _descended(text: str, line: CommandLine) -> tuple[str, CommandLine]:
    """Descend to the child of a command that the text names."""
    _, _, _, words, _ = split_line(text)
    name = next((word for word in words[1:] if not word.startswith("-")), "")
    if name not in line.children:
        argument = Option(("child",), choices={n: c.summary for n, c in line.children.items()})
        more = (argument,) if line.children else ()
        return text, line._replace(options=(*line.options, *more), children={}, usage="")
    return _without(text, name), line.children[name]


def _without(text: str, name: str) -> str:
    """Remove the command's name from the second place of a command line."""
    return re.sub(rf"^(\s*\S+\s+){re.escape(name)}(?=\s)", r"\1", text)


_FIRST = CommandLine("kwalk", options=(Option(("word",), complete=Complete.WORDS),), helps=False)
_WORKLOAD = CommandLine(
    "kwalk", options=(Option(("words",), complete=Complete.PROGRAMS, nargs="..."),), helps=False
)


def first_words(prefix: str) -> Candidates:
    """Return commands, or functions if no command matches."""
    # Thousands of functions would hide the commands.
    commands = {name: text for name, text in parsers.COMMANDS.items() if name.startswith(prefix)}
    return commands or dict.fromkeys(targets(prefix), "kernel function")


def _completer(option: Option) -> Callable[..., Candidates] | None:
    """Return the completer of an option's values; None where there is none."""
    if option.choices:
        texts = {word: text or option.help for word, text in option.choices.items()}
        return lambda **_: texts
    return _COMPLETERS.get(option.complete)


def targets(prefix: str) -> list[str]:
    """Return the functions and tracepoints that begin so."""
    found = tracefs.functions(prefix)
    return found + tracefs.tracepoints(prefix) if prefix.startswith("t:") else found


def processes() -> dict[str, str]:
    """Return the name of each process by its id."""
    found = {}
    for entry in os.scandir(PROC):
        if entry.name.isdecimal():
            try:
                found[entry.name] = _name_of(entry.path)
            except OSError:
                continue  # it has ended
    return found


def _name_of(folder: str) -> str:
    """Return a task's name as printable text; it can be any bytes."""
    name = Path(folder, "comm").read_bytes().removesuffix(b"\n")
    return plain(name.decode(errors="replace"))


def methods(prefix: str) -> list[str]:
    """Return the methods of ``kwalk bench``."""
    from kwalk.bench.methods import ATTACHED, ATTACHES, NONE, OTHERS

    return [NONE, *ATTACHED, *OTHERS, *(f"{name}:{way}" for name in ATTACHED for way in ATTACHES)]


def namespaces(prefix: str) -> list[str]:
    """Return the named network namespaces."""
    from kwalk.options.filter_names import NETNS

    return _folders(NETNS, folders=False)


def groups(prefix: str) -> list[str]:
    """Return the cgroups (version 2) below the directory that the prefix names."""
    from kwalk.kernel.cgroups import hierarchy

    mounted = hierarchy()
    above = prefix.rpartition("/")[0]
    if not mounted or prefix.startswith("/"):
        return list(DirectoriesCompleter()(prefix))
    return [f"{above}/{name}".lstrip("/") for name in _folders(mounted[0] / above)]


def _folders(path: Path, folders: bool = True) -> list[str]:
    """Return the entries of a directory; none if it does not exist."""
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() or not folders)
    except OSError:
        return []


def _with_commas(find: Callable[[str], Iterable[str]]) -> Callable[..., Candidates]:
    """Return a completer of the last value of a comma-separated list."""

    def complete(prefix: str, **_: object) -> list[str]:
        before, comma, last = prefix.rpartition(",")
        return [f"{before}{comma}{word}" for word in find(last) if word.startswith(last)]

    return complete


def programs(prefix: str, parsed_args: argparse.Namespace, **_: object) -> Candidates:
    """Return programs for the first word of a command line, files for the others."""
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


_COMPLETERS: dict[Complete, Callable[..., Candidates]] = {
    Complete.FILES: FilesCompleter(),
    Complete.FOLDERS: DirectoriesCompleter(),
    Complete.TARGETS: lambda prefix, **_: targets(prefix),
    Complete.TASKS: lambda prefix, **_: processes(),
    Complete.TASK_NAMES: _with_commas(lambda prefix: sorted(set(processes().values()))),
    Complete.CGROUPS: _with_commas(groups),
    Complete.NETNS: _with_commas(namespaces),
    Complete.PROGRAMS: programs,
    Complete.KERNELS: lambda prefix, **_: [*_kernels(), *FilesCompleter()(prefix)],
    Complete.METHODS: _with_commas(methods),
    Complete.WORDS: lambda prefix, **_: first_words(prefix),
}
