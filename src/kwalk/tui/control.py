# SPDX-License-Identifier: MIT
"""Key bindings of the live view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kwalk.tui.model import Grouping, Model, Order
from kwalk.tui.prompt import Prompt

INTERVALS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True)
class Request:
    """Request of a key to the caller of ``press``.

    :ivar save: Write a recording to this file; "" means quit.
    """

    save: str = ""


def press(model: Model, key: str) -> Request | None:
    """Handle a key; return a request for the caller, or None.

    :param key: A character, or a name such as ``up``, ``enter``, ``esc``.
    """
    model.said = ""
    if model.prompt:
        return _answer(model, model.prompt, key)
    if model.help:
        model.help = False
        return Request() if key == "q" else None
    if key == "q":
        return Request()
    if key in _ACTIONS:
        _ACTIONS[key](model)
    return None


def _answer(model: Model, prompt: Prompt, key: str) -> Request | None:
    if key == "esc":
        model.prompt = None
        model.filter = "" if prompt.filters else model.filter
    elif key != "enter":
        prompt.press(key)
    else:
        model.prompt = None
        if not prompt.filters:
            return Request(save=prompt.text) if prompt.text else None
        model.filter = prompt.text
    model.rearrange()
    return None


def _move(model: Model, rows: int) -> None:
    """Move the selection down by ``rows``."""
    shown = model.rows()
    if not shown:
        return
    at = min(max(model.cursor + rows, 0), len(shown) - 1)
    # On the first row no stack is pinned: the selection stays on top when the order changes.
    model.chosen = shown[at].key if at or model.opened else None
    model.scroll = 0


def _turn(model: Model, pages: int) -> None:
    """Scroll the opened stack, or else the rows, by pages."""
    if model.opened:
        model.scroll = max(0, model.scroll + pages)
    else:
        _move(model, pages * model.page)


def _open(model: Model) -> None:
    """Open or close the selected stack."""
    row = model.selected
    if row and row.stack is None and not model.opened:
        model.say("a group has no frames of its own: g shows its stacks")
        return
    model.opened = not model.opened and row is not None
    model.scroll = 0
    # Pinned, so that the same stack stays open when the order changes.
    model.chosen = row.key if row else None


def _sort(model: Model) -> None:
    orders = list(Order)
    model.order = orders[(orders.index(model.order) + 1) % len(orders)]
    model.rearrange()
    model.say(f"sorted by {model.order.value}")


def _group(model: Model) -> None:
    if not model.per:
        model.say("nothing to group by: start kwalk top with --per pid (or comm, cpu, cgroup)")
        return
    ways = list(Grouping)
    model.grouping = ways[(ways.index(model.grouping) + 1) % len(ways)]
    model.opened, model.chosen = False, None
    model.rearrange()
    texts = {
        Grouping.BOTH: f"each stack of each {model.per}",
        Grouping.STACKS: f"stacks, summed over every {model.per}",
        Grouping.GROUPS: f"each {model.per}, summed over its stacks",
    }
    model.say(texts[model.grouping])


def _filter(model: Model) -> None:
    model.prompt = Prompt("filter", model.filter, filters=True)
    model.rearrange()


def _save(model: Model) -> None:
    model.prompt = Prompt("save as", model.name_for_file)


def _back(model: Model) -> None:
    """Close the opened stack, or else clear the filter."""
    if model.opened:
        model.opened = False
    else:
        model.filter = ""
        model.rearrange()


def _freeze(model: Model) -> None:
    model.frozen = not model.frozen
    model.say("frozen; counting continues" if model.frozen else "resumed")


def _pace(model: Model, longer: bool) -> None:
    if longer:
        model.interval = min((s for s in INTERVALS if s > model.interval), default=model.interval)
    else:
        model.interval = max((s for s in INTERVALS if s < model.interval), default=model.interval)
    model.say(f"every {model.interval:g} s")


def _help(model: Model) -> None:
    model.help = True


_ACTIONS: dict[str, Callable[[Model], None]] = {
    "up": lambda model: _move(model, -1),
    "k": lambda model: _move(model, -1),
    "down": lambda model: _move(model, 1),
    "j": lambda model: _move(model, 1),
    "home": lambda model: _move(model, -len(model.rows())),
    "end": lambda model: _move(model, len(model.rows())),
    "pageup": lambda model: _turn(model, -1),
    "pagedown": lambda model: _turn(model, 1),
    "enter": _open,
    "esc": _back,
    "s": _sort,
    "g": _group,
    "/": _filter,
    "w": _save,
    " ": _freeze,
    "p": _freeze,
    "+": lambda model: _pace(model, longer=True),
    "=": lambda model: _pace(model, longer=True),
    "-": lambda model: _pace(model, longer=False),
    "?": _help,
    "h": _help,
}
