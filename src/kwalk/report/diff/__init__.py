# SPDX-License-Identifier: MIT
"""Two recordings compared."""
