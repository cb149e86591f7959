# SPDX-License-Identifier: MIT
"""The live view of ``kwalk top``: what it knows, what keys do to it, and how it is drawn."""
