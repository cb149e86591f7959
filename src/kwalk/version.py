# SPDX-License-Identifier: MIT
"""kwalk's version, for all who print or record it; the packaging reads it from here."""

__version__ = "0.1.0"
