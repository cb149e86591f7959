# SPDX-License-Identifier: MIT
"""Live view of ``kwalk top``: model, keys, drawing, terminal."""
