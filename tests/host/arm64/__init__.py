# SPDX-License-Identifier: MIT
"""Parts for arm64: frame records of calls and exceptions, reference unwinder."""
