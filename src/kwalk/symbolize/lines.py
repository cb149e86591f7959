# SPDX-License-Identifier: MIT
"""File, line and inlined functions of a profile's frames, from the kernel's debug information."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from kwalk.errors import KwalkError
from kwalk.model.profile import ProfileData
from kwalk.model.stack import Frame, Stack
from kwalk.support.text import form, plural
from kwalk.symbolize.vmlinux import SourceLocation, places, symbols

TEXT = "_text"
# Where the kernel's tree begins, in the path of a file that every kernel has code of.
_TREE = re.compile(r"(.*?/|)arch/[^/]+/(?:entry|kernel|mm|lib)/")

# What the note begins with that tells how many addresses have lines.
NOTE = "source lines: "


def add_lines(profile: ProfileData, path: str) -> ProfileData:
    """Return the profile with the source of each frame that debug information knows.

    What was inlined becomes frames of their own, ahead of the frame whose code it is in. Modules
    and BPF programs have their code elsewhere; their frames stay as they are.

    :param path: The kernel's ELF file, of the very build that was recorded.
    :raises KwalkError: if it is another kernel's, has no debug information, or there is no program
        to read it.
    """
    recorded = profile.facts.get("text") or 0
    if not recorded and any(part.get("text") for part in profile.facts.get("merged", ())):
        raise KwalkError(
            "this is merged of several boots, and the kernel lay elsewhere in each",
            "Ask for the lines of one recording at a time, or merge recordings of one boot.",
        )
    frames = {frame for count in profile for frame in count.stack.frames if _is_kernel(frame)}
    found = symbols(path, {TEXT} | {frame.name for frame in frames})
    if not recorded or TEXT not in found:
        whose = path if recorded else "the recording"
        raise KwalkError(
            f"{whose} does not say where the kernel's code begins ({TEXT})",
            "Recordings of an ELF kernel on x86-64 say it; record again with this kwalk."
            if not recorded
            else "Give the vmlinux of the kernel that was recorded.",
        )
    shift = min(found[TEXT]) - recorded
    _check(path, frames, found, shift, profile)
    # At a tracepoint, the first address of a stack is a return address as well.
    called = profile.summary.unit == "events"
    wanted = {
        _place(frame, index == 0 and not called)
        for count in profile
        for index, frame in enumerate(count.stack.frames)
        if _is_kernel(frame)
    }
    rows = places(path, (place + shift for place in wanted))
    names = _relative(place.source for row in rows.values() for place in row)

    stacks: dict[Stack, Stack] = {}
    for count in profile:
        if count.stack not in stacks:
            stacks[count.stack] = _with_lines(count.stack, rows, names, shift, called)
    known = sum(any(place.source for place in row) for row in rows.values())
    addresses = form(len(wanted), "address", "addresses")
    note = f"{NOTE}of {known:,} of {len(wanted):,} {addresses} in the kernel, from {path}"
    return replace(
        profile,
        counts=[replace(count, stack=stacks[count.stack]) for count in profile],
        summary=replace(profile.summary, notes=[*profile.summary.notes, note]),
    )


def _is_kernel(frame: Frame) -> bool:
    return bool(frame.name and frame.address and not frame.module)


def _place(frame: Frame, innermost: bool) -> int:
    """Return the address of the instruction that a frame is at.

    A return address stands behind its call: see ``Symbolizer``. The innermost frame's address is
    that of what was traced, or interrupted.
    """
    return frame.address if innermost or not frame.offset else frame.address - 1


def _check(
    path: str, frames: Iterable[Frame], found: dict[str, set[int]], shift: int, profile: ProfileData
) -> None:
    """Compare where functions lie.

    :raises KwalkError: if one is elsewhere in the file than in the recording, or most are not
        there.
    """
    expected = {(frame.name, frame.address - frame.offset + shift) for frame in frames}
    missing = [name for name, _ in expected if name not in found]
    wrong = [(name, at) for name, at in sorted(expected) if name in found and at not in found[name]]
    release = profile.facts.get("kernel") or profile.summary.kernel
    hint = f"Give the vmlinux of the very build that was recorded: {release}"
    if version := profile.facts.get("kernel_version"):
        hint += f", {version}"
    told = plural(len(expected), "recorded function")
    if wrong:
        name, at = wrong[0]
        lie = form(len(wrong), "lies", "lie")
        there = min(found[name]) - min(found[TEXT])
        raise KwalkError(
            f"{path} is of another kernel: {len(wrong)} of {told} {lie} "
            f"elsewhere, such as {name} at {TEXT}+{there:#x}, recorded at "
            f"{TEXT}+{at - min(found[TEXT]):#x}",
            f"{hint}.",
        )
    if 2 * len(missing) > len(expected):
        raise KwalkError(
            f"{path} is of another kernel: it lacks {len(missing)} of {told}, "
            f"such as {min(missing)}",
            f"{hint}.",
        )


def _relative(sources: Iterable[str]) -> dict[str, str]:
    """Return each source as it is shown: from the top of the kernel's tree, where that is seen."""
    known = {source: os.path.normpath(source) for source in sources if source}
    trees = {match[1] for source in known.values() if (match := _TREE.match(source))}
    # A build's own folder may lie below the tree of the sources.
    tops = sorted(trees - {""}, key=len, reverse=True)
    return {
        source: next((path.removeprefix(top) for top in tops if path.startswith(top)), path)
        for source, path in known.items()
    } | {"": ""}


def _with_lines(
    stack: Stack,
    rows: dict[int, list[SourceLocation]],
    names: dict[str, str],
    shift: int,
    called: bool,
) -> Stack:
    frames: list[Frame] = []
    for index, frame in enumerate(stack.frames):
        row = rows.get(_place(frame, index == 0 and not called) + shift, [])
        if not row or not _is_kernel(frame):
            frames.append(frame)
            continue
        frames += _inlined(frame, row[:-1], names)
        frames.append(frame._replace(source=names[row[-1].source]))
    return replace(stack, frames=tuple(frames), addresses=tuple(frame.address for frame in frames))


def _inlined(frame: Frame, row: Iterable[SourceLocation], names: dict[str, str]) -> Iterator[Frame]:
    """Yield a frame for each inlined function; at its first instruction a function is in none."""
    if frame.offset:
        for place in row:
            source = names[place.source]
            yield Frame(place.function, 0, "", frame.address, source, inlined=True)
