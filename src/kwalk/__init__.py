# SPDX-License-Identifier: MIT
"""kwalk: show the kernel call stacks that lead to a kernel function.

What is public here is listed in ``__all__``; docs/library.md shows how to use it. Modules are
loaded when something of theirs is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from kwalk.version import __version__

if TYPE_CHECKING:
    from kwalk.api import Stream, Trace, merge, open, stream, trace
    from kwalk.choices import Choices
    from kwalk.errors import KwalkError, NotSupported, UsageError
    from kwalk.events import Event, Who
    from kwalk.ledger import Ledger, Summary, Verify
    from kwalk.profile import Profile, Timeline
    from kwalk.recording.broken import BrokenRecording
    from kwalk.stack import Count, Frame, Group, Stack

_MODULES = {
    "api": ("Stream", "Trace", "merge", "open", "stream", "trace"),
    "choices": ("Choices",),
    "errors": ("KwalkError", "NotSupported", "UsageError"),
    "events": ("Event", "Who"),
    "ledger": ("Ledger", "Summary", "Verify"),
    "profile": ("Profile", "Timeline"),
    "recording.broken": ("BrokenRecording",),
    "stack": ("Count", "Frame", "Group", "Stack"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "BrokenRecording",
    "Choices",
    "Count",
    "Event",
    "Frame",
    "Group",
    "KwalkError",
    "Ledger",
    "NotSupported",
    "Profile",
    "Stack",
    "Stream",
    "Summary",
    "Timeline",
    "Trace",
    "UsageError",
    "Verify",
    "Who",
    "__version__",
    "merge",
    "open",
    "stream",
    "trace",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"kwalk.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
