# SPDX-License-Identifier: MIT
"""Tests on a kernel that is too old: nothing is traced."""

from told import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]
