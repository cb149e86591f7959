# SPDX-License-Identifier: MIT
"""Commit of the checkout, for logs."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


def name() -> str:
    """Return the checkout's commit, such as ``1a2b3c4d5e6f``, with ``-dirty`` after changes."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        return "unknown: git is not on this machine"
    except subprocess.CalledProcessError as error:
        return f"unknown: {error.stderr.strip()}"
    return done.stdout.strip()
