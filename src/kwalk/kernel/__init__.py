# SPDX-License-Identifier: MIT
"""Facts about the running kernel, read from its own files; nothing here traces."""
