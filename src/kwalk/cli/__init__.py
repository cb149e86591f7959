# SPDX-License-Identifier: MIT
"""The command line: parse, run the engine, write reports."""
