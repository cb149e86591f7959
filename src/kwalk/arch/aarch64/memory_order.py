# SPDX-License-Identifier: MIT
"""Memory barriers of arm64, which lets other CPUs see loads and stores in any order."""

from __future__ import annotations


def acquire() -> None:
    """Order loads before the call before loads and stores behind it."""


def release() -> None:
    """Order loads and stores before the call before stores behind it."""
