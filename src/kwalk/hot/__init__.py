# SPDX-License-Identifier: MIT
"""Programs generated for the stacks that are seen most, in front of the walk (docs/hot.md)."""
