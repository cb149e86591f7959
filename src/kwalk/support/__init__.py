# SPDX-License-Identifier: MIT
"""Ground floor: text, terminals, files, processes. Nothing here knows of kernels or stacks."""
