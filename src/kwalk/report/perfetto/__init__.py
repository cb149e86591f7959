# SPDX-License-Identifier: MIT
"""The parts of a Perfetto trace."""
