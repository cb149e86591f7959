# SPDX-License-Identifier: MIT
"""Helper and manual compared on the same events."""
