# SPDX-License-Identifier: MIT
"""The engine of command line, library and live view: attach, read, detach."""
