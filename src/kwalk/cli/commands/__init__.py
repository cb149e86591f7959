# SPDX-License-Identifier: MIT
"""The commands: a module declares the syntax of its command as data, and runs it.

``command`` in each module is a ``cli.parsers.Command``. Reports format the results.
"""
