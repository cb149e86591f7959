# SPDX-License-Identifier: MIT
"""Capture options: values, defaults, limits and checks; filters by name and by number."""
