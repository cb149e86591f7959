# SPDX-License-Identifier: MIT
"""Recordings by their names on a command line."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence

from kwalk.errors import KwalkError, UsageError
from kwalk.model.profile import ProfileData
from kwalk.recording import files, reader

_HINT = "Give the name of a file, or send a recording there: kwalk record -o - | kwalk report -."


def load_parts(names: Sequence[str], args: argparse.Namespace) -> ProfileData:
    """Load the selected part of each recording, and merge them.

    :param names: One or more paths; see ``load``.
    :param args: See ``load_part``.
    :raises KwalkError: as ``load``.
    """
    if names.count("-") > 1:
        raise UsageError(
            "only one recording can come from standard input", "Give files for the others."
        )
    profiles = [load_part(name, args) for name in names]
    if len(profiles) == 1:
        return profiles[0]
    from kwalk.model.merge import merge

    return merge(profiles)


def load_part(name: str, args: argparse.Namespace) -> ProfileData:
    """Load the selected part of a recording.

    :param args: With the options of ``shared_options.NARROWED``, maybe ``lines``.
    :raises KwalkError: as ``load``.
    """
    profile = load(name)
    if getattr(args, "lines", None):
        from kwalk.symbolize.lines import add_lines

        profile = add_lines(profile, args.lines)
    if args.seconds:
        from kwalk.model.narrow import between

        try:
            profile = between(profile, *args.seconds)
        except UsageError as error:
            raise UsageError(f"{name}: {error.what}", error.hint) from None
    if args.from_caller or args.until or args.group or args.no_groups:
        from kwalk.model.narrow import narrow
        from kwalk.options.validate import glob

        until = glob(args.until)
        return narrow(profile, args.from_caller, until, args.group, not args.no_groups)
    return profile


def load(name: str) -> ProfileData:
    """Load a recording.

    :param name: Path; ``-`` is standard input.
    :raises KwalkError: as ``recording.files.load``.
    """
    # Neither recordings nor reports are cyclic; a search of all their objects takes long.
    gc.disable()
    if name != "-":
        return files.load(name)
    if sys.stdin is None:
        raise KwalkError("standard input is closed", _HINT)
    try:
        return reader.read(sys.stdin.buffer, "standard input")
    except OSError as error:
        raise KwalkError(f"standard input cannot be read: {error.strerror}", _HINT) from error
