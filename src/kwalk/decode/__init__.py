# SPDX-License-Identifier: MIT
"""Bytes of the ring, the tree and the maps to events and counts with distinct stacks."""
