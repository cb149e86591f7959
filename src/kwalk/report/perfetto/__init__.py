# SPDX-License-Identifier: MIT
"""Parts of a Perfetto trace: packets, interned data, tracks."""
