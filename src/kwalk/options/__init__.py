# SPDX-License-Identifier: MIT
"""Capture options: their values checked, their defaults and limits, filters by name and number."""
