# SPDX-License-Identifier: MIT
"""Recordings: a profile in a file, written as it grows. The format is docs/recording.md's."""
