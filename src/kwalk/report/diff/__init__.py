# SPDX-License-Identifier: MIT
"""Comparison of two recordings, and the output of ``kwalk diff``."""
