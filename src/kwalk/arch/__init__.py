# SPDX-License-Identifier: MIT
"""Processor architectures: everything in user space that depends on one."""
