# SPDX-License-Identifier: MIT
"""From addresses to names."""
