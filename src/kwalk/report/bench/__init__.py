# SPDX-License-Identifier: MIT
"""Output of ``kwalk bench``."""
