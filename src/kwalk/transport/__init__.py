# SPDX-License-Identifier: MIT
"""Data from the kernel to user space: tree, ring of records, stack maps, counters."""
