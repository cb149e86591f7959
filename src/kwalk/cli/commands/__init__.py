# SPDX-License-Identifier: MIT
"""The commands: each module parses its arguments and decides; reports draw.

What ``kwalk.cli.main`` runs is called ``command`` in each: ``add_arguments(parser)`` declares its
options, ``run(args)`` does the work and returns the exit code, or raises KwalkError.
"""
