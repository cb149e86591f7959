# SPDX-License-Identifier: MIT
"""kwalk: show the kernel call stacks that lead to a kernel function.

The public names are those in ``__all__``; docs/library.md shows how to use them. The first access
to a name imports its module.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from kwalk.version import __version__

if TYPE_CHECKING:
    from kwalk.api.profile import Profile, merge, open
    from kwalk.api.trace import Stream, Trace, stream, trace
    from kwalk.errors import KwalkError, NotSupported, UsageError
    from kwalk.model.event import Event, Who
    from kwalk.model.ledger import Ledger, Summary, Verify
    from kwalk.model.profile import Timeline
    from kwalk.model.stack import Count, Frame, Group, Stack
    from kwalk.options.keywords import Choices
    from kwalk.recording.broken import BrokenRecording

_MODULES = {
    "api.profile": ("Profile", "merge", "open"),
    "api.trace": ("Stream", "Trace", "stream", "trace"),
    "options.keywords": ("Choices",),
    "errors": ("KwalkError", "NotSupported", "UsageError"),
    "model.event": ("Event", "Who"),
    "model.ledger": ("Ledger", "Summary", "Verify"),
    "model.profile": ("Timeline",),
    "recording.broken": ("BrokenRecording",),
    "model.stack": ("Count", "Frame", "Group", "Stack"),
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
