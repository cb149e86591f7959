# SPDX-License-Identifier: MIT
"""From the ring's bytes to events whose stacks are told apart."""
