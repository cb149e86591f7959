# SPDX-License-Identifier: MIT
"""Plain data: stacks, events, ledgers, profiles, and arithmetic on them. Imports nothing above."""
