# SPDX-License-Identifier: MIT
"""Flame graphs, as HTML pages and as SVG."""
