# SPDX-License-Identifier: MIT
"""Output of ``kwalk compare``: the helper and the walk on the same hits."""
