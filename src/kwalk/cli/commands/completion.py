# SPDX-License-Identifier: MIT
"""``kwalk completion``: completion scripts for shells."""

from __future__ import annotations

import argparse

from kwalk.cli.options import CommandLine, option, words

SHELLS = ("bash", "zsh", "fish")
_HOW = """\
In ~/.bashrc:                    eval "$(kwalk completion bash)"
In ~/.zshrc, after compinit:     eval "$(kwalk completion zsh)"
In ~/.config/fish/config.fish:   kwalk completion fish | source

For all users, in files that the shells find by themselves:
  bash   /etc/bash_completion.d/kwalk
  zsh    /usr/local/share/zsh/site-functions/_kwalk
  fish   /etc/fish/completions/kwalk.fish

The script asks kwalk, so it stays valid when kwalk is updated. FUNC is completed from the functions
that ftrace can trace, if that list can be read (root), else from /proc/kallsyms."""


class CompletionCommand:
    """See ``kwalk completion --help``."""

    line = CommandLine(
        "kwalk completion",
        options=(option("shell", metavar="SHELL", choices=words(*SHELLS), help=", ".join(SHELLS)),),
        epilog=_HOW,
        literal=True,
    )

    def run(self, args: argparse.Namespace) -> int:
        """Print the script."""
        from argcomplete.shell_integration import shellcode

        from kwalk.support.stdio import write

        # Do not fall back to names of files.
        write(shellcode(["kwalk"], shell=args.shell, complete_arguments=["-o", "nospace"]).lstrip())
        return 0


command = CompletionCommand()
