# SPDX-License-Identifier: MIT
"""x86-64."""
