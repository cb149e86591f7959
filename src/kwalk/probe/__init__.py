# SPDX-License-Identifier: MIT
"""What to attach to and how: the target, the choice of method, loading and attaching."""
