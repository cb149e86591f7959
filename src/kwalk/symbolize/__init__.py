# SPDX-License-Identifier: MIT
"""Symbolization: from addresses to names and source lines."""
