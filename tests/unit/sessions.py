# SPDX-License-Identifier: MIT
"""Sessions of the command line around what stands in for a capture and for signals."""

from __future__ import annotations

from typing import Any

from kwalk.cli.tracing import TracingSession
from kwalk.options.probe import ProbeOptions


def session_of(capture: Any, stopper: Any) -> TracingSession:
    """Return a session that has attached, without a command or a budget."""
    session = TracingSession(["ip_rcv"], ProbeOptions(), {})
    session.capture, session.stopper = capture, stopper
    return session
