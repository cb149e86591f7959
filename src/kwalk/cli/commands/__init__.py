# SPDX-License-Identifier: MIT
"""The commands: each module declares its options as data, parses nothing, and decides.

``command`` in each is a ``cli.parsers.Command``. Reports draw.
"""
