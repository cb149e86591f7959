# SPDX-License-Identifier: MIT
"""x86-64."""

from kwalk.arch.x86_64.layout import X86_64

__all__ = ["X86_64"]
