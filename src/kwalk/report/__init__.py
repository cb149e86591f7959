# SPDX-License-Identifier: MIT
"""Reports draw; what they draw was decided elsewhere. None of them needs the kernel."""
