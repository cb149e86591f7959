# SPDX-License-Identifier: MIT
"""One-line labels for stacks that are shown together, made of the frames that differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import NamedTuple

from kwalk.model.stack import Frame, Stack
from kwalk.report.calltree import TRUNCATED, function_name
from kwalk.report.frame import frame_text
from kwalk.support.printable import plain

FALLBACK = "[fallback]"
NOTHING = "(nothing)"
SHORT = 18
_Element = Frame | str
_Path = tuple[_Element, ...]


class Marks(NamedTuple):
    """Separators of functions.

    :ivar called_by: Between a function and its caller.
    :ivar gap: In place of functions that do not fit.
    :ivar rest: In the common frames, in place of the part that the labels show.
    """

    called_by: str
    gap: str
    rest: str


class Labels(NamedTuple):
    """Labels of stacks that are shown together.

    :ivar lines: One label per stack, in the order of the stacks.
    :ivar common: The frames common to all stacks, at either end; "" if there are none.
    """

    lines: list[str]
    common: str


def path_of(stack: Stack) -> _Path:
    """Return the frames, the traced function first, and marks for truncation and fallback."""
    marks = [TRUNCATED] * stack.truncated + [FALLBACK] * stack.fallback
    return (*stack.frames, *marks)


def _name(element: _Element) -> str:
    return element if isinstance(element, str) else plain(function_name(element))


def _common(paths: Sequence[_Path]) -> int:
    """Return the length of the paths' common beginning."""
    return sum(1 for _ in takewhile(lambda row: len(set(row)) == 1, zip(*paths, strict=False)))


def _branches(paths: Iterable[_Path]) -> list[dict[int, str]]:
    """Return each path's branch points: index -> a name that differs from the other branches'."""
    nodes: dict[tuple[int, _Element], int] = {}
    children: dict[int, list[_Element | None]] = {}
    ways = []
    for path in paths:
        node, way = 0, []
        for element in path:
            way.append(node)
            step = node, element
            if step not in nodes:
                nodes[step] = len(nodes) + 1
                children.setdefault(node, []).append(element)
            node = nodes[step]
        children.setdefault(node, []).append(None)  # a path that ends here
        ways.append((path, way))
    found = []
    for path, way in ways:
        telling = {}
        for at, (element, node) in enumerate(zip(path, way, strict=True)):
            others = [other for other in children[node] if other != element]
            if others:
                alike = any(other and _name(other) == _name(element) for other in others)
                exact = alike and isinstance(element, Frame) and element.offset
                telling[at] = plain(frame_text(element)) if exact else _name(element)  # type: ignore[arg-type]
        found.append(telling)
    return found


def fit(names: Sequence[str], order: Iterable[int], width: int, marks: Marks) -> str:
    """Join as many names as fit into ``width``, in the order of ``names``.

    :param order: Indices of the names by priority.
    """
    chosen: list[int] = []
    text = ""
    for at in order:
        wanted = sorted([*chosen, at])
        longer = _joined(names, wanted, marks)
        if chosen and len(longer) > width:
            continue
        chosen, text = wanted, longer
    return text


def _joined(names: Sequence[str], chosen: Sequence[int], marks: Marks) -> str:
    parts = [marks.gap.lstrip() if chosen[0] else ""]
    for before, at in zip([chosen[0] - 1, *chosen], chosen, strict=False):
        if at != chosen[0]:
            parts.append(marks.called_by if at == before + 1 else marks.gap)
        parts.append(names[at])
    if chosen[-1] < len(names) - 1:
        parts.append(marks.gap.rstrip())
    return "".join(parts)


def labels(stacks: Sequence[Stack], width: int, common_width: int, marks: Marks) -> Labels:
    """Return a label per stack, without the frames that all stacks begin and end with.

    Different frames of one function at the same position are shown with their offsets.

    :param width: Characters of a label; a single name may be longer.
    :param common_width: Characters of the common frames.
    """
    paths = [path_of(stack) for stack in stacks]
    if len(set(paths)) < 2:
        lines = []
        for path in paths:
            names = [_name(element) for element in path[1:] or path]
            lines.append(fit(names, range(len(names)), width, marks))
        return Labels(lines, "")
    inner = _common(paths)
    room = min(map(len, paths)) - inner
    outer = min(_common([path[::-1] for path in paths]), room)
    telling = _branches(paths)
    telling_outside = _branches([path[::-1] for path in paths])
    lines, middles = [], []
    for path, near, far in zip(paths, telling, telling_outside, strict=True):
        end = len(path) - outer
        far = {len(path) - 1 - at: name for at, name in far.items()}
        middle = range(inner, end)
        names = [max(_name(path[at]), near.get(at, ""), far.get(at, ""), key=len) for at in middle]
        order = [at - inner for at in (*near, *far, *middle) if inner <= at < end]
        lines.append(fit(names, dict.fromkeys(order), width, marks) or NOTHING)
        middles.append((names, order))
    for same in _repeated(lines):
        # No room for all differences: show those between the stacks with this same label.
        for index, parts in zip(same, _branches([paths[at] for at in same]), strict=True):
            names, order = middles[index]
            first = [at - inner for at in parts if 0 <= at - inner < len(names)]
            names = [shorten(name, SHORT, marks) for name in names]
            order = [*first, 0, *order]
            lines[index] = fit(names, dict.fromkeys(order), width, marks) or NOTHING
    return Labels(lines, _shared(paths[0], inner, outer, common_width, marks))


def _repeated(lines: Sequence[str]) -> list[list[int]]:
    """Return the indices of each line that occurs more than once."""
    places: dict[str, list[int]] = {}
    for at, line in enumerate(lines):
        places.setdefault(line, []).append(at)
    return [found for found in places.values() if len(found) > 1]


def shorten(name: str, width: int, marks: Marks) -> str:
    """Shorten a name in its middle: the end is as informative as the beginning."""
    cut = marks.gap.strip()
    if len(name) <= width:
        return name
    end = (width - len(cut)) // 2
    return name[: width - len(cut) - end] + cut + name[-end:]


def _shared(path: _Path, inner: int, outer: int, width: int, marks: Marks) -> str:
    """Return the common frames at either end, as many as fit."""
    names = [_name(element) for element in path[:inner]]
    names += [marks.rest, *(_name(element) for element in path[len(path) - outer :])]
    if len(names) == 1:
        return ""
    # By priority: the mark, the traced function, then the frames nearest to the labels' part.
    order = sorted(range(len(names)), key=lambda at: (abs(at - inner), at))
    return fit(names, dict.fromkeys([inner, 0, *order]), width, marks)
