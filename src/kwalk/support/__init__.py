# SPDX-License-Identifier: MIT
"""Helpers for text, terminals, files and processes; independent of kernels and stacks."""
