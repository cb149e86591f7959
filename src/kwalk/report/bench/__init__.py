# SPDX-License-Identifier: MIT
"""Results of ``kwalk bench``."""
