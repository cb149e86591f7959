# SPDX-License-Identifier: MIT
"""Reports: text, tables and pictures of plain data; none of them needs the kernel."""
