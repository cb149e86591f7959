# SPDX-License-Identifier: MIT
"""The ``kwalk`` command line: find the command, run it, print its error."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from kwalk.cli import parsers
from kwalk.cli.parser import build, parse
from kwalk.cli.parsers import COMMANDS, DEFAULT, OWN, named, spell_out
from kwalk.errors import KwalkError, OutputError
from kwalk.support.aborting import abort
from kwalk.support.printable import clean_stderr
from kwalk.support.stdio import close, notices, open_streams, settle

USAGE = 2
INTERRUPTED = 128 + signal.SIGINT
# Allocations between two collections of cyclic garbage. Python's default of 700 takes a quarter of
# the start, which keeps all that it allocates.
GARBAGE_EVERY = 100_000
# Commands that run a command of the user, given after "--"; argparse does not see it.
WITH_WORKLOAD = ("bench", "compare", "count", "record", "stream", "top")


def guarded(prog: str, body: Callable[[], int]) -> int:
    """Run ``body``; print its error as one message on stderr and return an exit code.

    :param prog: Prefix of the message.
    :return: Exit code, 0 to 255: 1 failure, 2 usage, 130 on Ctrl-C.
    :raises SystemExit: from ``body``, when argparse has printed an error.
    """
    gc.set_threshold(GARBAGE_EVERY)
    open_streams()
    stderr = sys.stderr
    sys.stderr = notices(stderr)
    try:
        with clean_stderr():
            return _guarded(prog, body)
    finally:
        sys.stderr = stderr


def _guarded(prog: str, body: Callable[[], int]) -> int:
    try:
        with _interruptible():
            code = body()
            _flush()
    except KwalkError as error:
        return _fail(prog, error)
    except BrokenPipeError:
        close(sys.stdout)  # the reader has read enough (| head)
        return 0
    except OSError as error:
        name = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        return _fail(prog, KwalkError(f"{name}{error.strerror or error}", _limit(error)))
    except MemoryError as error:
        hint = "Use a machine with more memory, or show less: --top, --seconds, --from-caller."
        return _fail(prog, KwalkError(f"{prog} cannot go on: out of memory", _limit(error) or hint))
    except RecursionError:
        return _fail(prog, KwalkError("the input is nested too deeply"))
    except ImportError as error:
        if not (limit := _limit(error)):
            raise
        return _fail(prog, KwalkError(f"{prog} cannot go on: {error}", limit))
    except KeyboardInterrupt:
        return INTERRUPTED
    except RuntimeError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        return INTERRUPTED  # up to 3.11 Python wraps exceptions of __set_name__()
    finally:
        settle(sys.stdout)
        settle(sys.stderr)
    return code


def _limit(error: BaseException) -> str:
    """Return which limit of the machine an error comes from and how to raise it, or ""."""
    try:
        from kwalk.kernel import shortage
    except OSError:  # the same limit prevents the import
        return ""
    return shortage.hint(shortage.of(error))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt, unless it is ignored or this is another thread."""
    before = signal.getsignal(signal.SIGINT)
    if before in (None, signal.SIG_IGN, signal.default_int_handler):
        yield
        return
    hook = sys.unraisablehook
    try:
        sys.unraisablehook = _unraisable
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = hook


def _unraisable(what: sys.UnraisableHookArgs) -> None:
    """End the process on Ctrl-C within a destructor, where Python drops exceptions."""
    if issubclass(what.exc_type, KeyboardInterrupt):
        abort(INTERRUPTED)
    sys.__unraisablehook__(what)


def _flush() -> None:
    """Flush standard output."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(error) from error


def _fail(prog: str, error: KwalkError) -> int:
    print(f"{prog}: {error}", file=sys.stderr)
    return error.exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``kwalk`` script."""
    open_streams()
    with clean_stderr():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    if "_ARGCOMPLETE" in os.environ:  # a shell asks, by the script of `kwalk completion`
        from kwalk.cli.completing import answer

        answer()
    words = spell_out(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"]:  # to trace a function named help: kwalk count help
        words = [*words[1:], "--help"]
        if words[0] not in (*COMMANDS, "--help"):
            build(parsers.kwalk()).error(f"there is no command {words[0]}; see kwalk --help")
    rest: list[str] = []
    name = named(words)
    taken_for = name if name not in COMMANDS else None
    if taken_for or (not name and words and words[0] not in OWN):
        name, words = DEFAULT, [DEFAULT, *words]
    elif name and name != words[0]:
        build(parsers.command_line(name)).error(
            f"options must follow the command: kwalk {name} {words[0]}"
        )
    end = words.index("--") if name in WITH_WORKLOAD and "--" in words else len(words)
    if any(not word.startswith("-") for word in words[1:end]):  # else argparse handles --
        words, rest = words[:end], words[end + 1 :]

    def run() -> int:
        if name is None:
            parse(parsers.kwalk(), words)  # prints and exits
        assert name
        command = parsers.command(name)
        args = parse(parsers.command_line(name), words[1:])
        args.name = name
        args.workload = rest
        args.words = ["kwalk", *words, *(["--", *rest] if rest else [])]
        return command.run(args)

    code = guarded("kwalk", run)
    if taken_for and code == USAGE:
        _say_near_command(taken_for)
    return code


def _say_near_command(word: str) -> None:
    """Suggest a command whose name is close to a word that was taken for a function."""
    import difflib

    for command in difflib.get_close_matches(word, COMMANDS, n=1):
        print(f"       Did you mean the command: kwalk {command}", file=sys.stderr)
