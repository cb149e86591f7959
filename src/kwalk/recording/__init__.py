# SPDX-License-Identifier: MIT
"""Recordings: a profile in a file, written while it grows. Format: docs/recording.md."""
