# SPDX-License-Identifier: MIT
"""The library: what ``import kwalk`` offers. docs/library.md shows how."""
