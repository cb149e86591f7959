# SPDX-License-Identifier: MIT
"""Flame graphs."""
