# SPDX-License-Identifier: MIT
"""Source lines and inlined functions of a profile's frames, from vmlinux's debug information."""

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
# Root of the kernel's source tree, in the path of a file that every kernel is built from.
_TREE = re.compile(r"(.*?/|)arch/[^/]+/(?:entry|kernel|mm|lib)/")

# Prefix of the note that says how many addresses have source lines.
NOTE = "source lines: "


def add_lines(profile: ProfileData, path: str) -> ProfileData:
    """Return the profile with the source line of each frame that debug information covers.

    Inlined functions become frames ahead of the function that contains their code. Frames of
    modules and BPF programs, which are not in vmlinux, do not change.

    :param path: vmlinux, the ELF file of the recorded build.
    :raises KwalkError: if the file is another kernel's, has no debug information, or no program
        to read it is installed.
    """
    recorded = profile.facts.get("text") or 0
    if not recorded and any(part.get("text") for part in profile.facts.get("merged", ())):
        raise KwalkError(
            "this profile merges several boots, each with the kernel at its own address",
            "Add lines to one recording at a time, or merge recordings of one boot.",
        )
    frames = {frame for count in profile for frame in count.stack.frames if _is_kernel(frame)}
    found = symbols(path, {TEXT} | {frame.name for frame in frames})
    if not recorded or TEXT not in found:
        whose = path if recorded else "the recording"
        raise KwalkError(
            f"{whose} lacks the start address of the kernel's code ({TEXT})",
            "Recordings of an ELF kernel on x86-64 have it: record again with this kwalk."
            if not recorded
            else "Give the vmlinux of the recorded kernel.",
        )
    shift = min(found[TEXT]) - recorded
    _check(path, frames, found, shift, profile)
    # At a tracepoint, the innermost address of a stack is a return address as well.
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
    note = f"{NOTE}{known:,} of {len(wanted):,} kernel {addresses}, from {path}"
    return replace(
        profile,
        counts=[replace(count, stack=stacks[count.stack]) for count in profile],
        summary=replace(profile.summary, notes=[*profile.summary.notes, note]),
    )


def _is_kernel(frame: Frame) -> bool:
    return bool(frame.name and frame.address and not frame.module)


def _place(frame: Frame, innermost: bool) -> int:
    """Return the address of a frame's current instruction.

    A return address points after its call, see ``Symbolizer``; the innermost frame's address is
    the traced or interrupted instruction itself.
    """
    return frame.address if innermost or not frame.offset else frame.address - 1


def _check(
    path: str, frames: Iterable[Frame], found: dict[str, set[int]], shift: int, profile: ProfileData
) -> None:
    """Check that the recorded functions have the same addresses in the file.

    :raises KwalkError: if one has another address, or most are missing.
    """
    expected = {(frame.name, frame.address - frame.offset + shift) for frame in frames}
    missing = [name for name, _ in expected if name not in found]
    wrong = [(name, at) for name, at in sorted(expected) if name in found and at not in found[name]]
    release = profile.facts.get("kernel") or profile.summary.kernel
    hint = f"Give the vmlinux of the recorded build: {release}"
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
    """Return each source's displayed path, relative to the kernel's tree if its root is known."""
    known = {source: os.path.normpath(source) for source in sources if source}
    trees = {match[1] for source in known.values() if (match := _TREE.match(source))}
    # The build folder may be below the source tree: longest root first.
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
    """Yield a frame per inlined function; none at a function's first instruction (offset 0)."""
    if frame.offset:
        for place in row:
            source = names[place.source]
            yield Frame(place.function, 0, "", frame.address, source, inlined=True)
