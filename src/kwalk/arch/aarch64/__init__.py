# SPDX-License-Identifier: MIT
"""arm64, by the name that ``uname -m`` prints."""

from kwalk.arch.aarch64.layout import AARCH64

__all__ = ["AARCH64"]
