# SPDX-License-Identifier: MIT
"""What is x86-64's: rules, how calls and interrupts use the stack, how the kernel unwinds it."""
