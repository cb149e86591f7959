# SPDX-License-Identifier: MIT
"""From the kernel to user space: the ring of records, the stack maps, the counters."""
