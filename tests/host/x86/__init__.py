# SPDX-License-Identifier: MIT
"""Parts for x86-64: ORC rules, stack use of calls and interrupts, reference unwinder."""
