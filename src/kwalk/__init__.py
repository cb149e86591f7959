# SPDX-License-Identifier: MIT
"""kwalk: show the kernel call stacks that lead to a kernel function."""

__version__ = "0.1.0"
