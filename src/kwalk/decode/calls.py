# SPDX-License-Identifier: MIT
"""Share equal calls, so that what is made of them is made once."""

from __future__ import annotations

from kwalk.model.event import Call, Who
from kwalk.model.stack import Stack

# Of a machine that starts processes all the time there is no end.
MOST_KNOWN = 1 << 16


class Calls:
    """Makes one ``Call`` of all equal ones, as long as there are not too many."""

    def __init__(self) -> None:
        self._known: dict[tuple[Stack, Who | None], Call] = {}

    def call(self, stack: Stack, who: Who | None) -> Call:
        """Return the call of this stack by this task."""
        key = stack, who
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[key] = Call(stack, who)
        return known
