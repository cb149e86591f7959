# SPDX-License-Identifier: MIT
"""Options of ``kwalk lab``, by its actions."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from kwalk.cli import values
from kwalk.cli.options import CommandLine, Complete, flag, option, words
from kwalk.lab import kernels
from kwalk.lab.peers import PACKAGES, SUITE
from kwalk.options import limits

_LEAST_MEMORY = 256  # MiB; Debian's kernels do not boot with less


def memory_size(text: str) -> str:
    """Type of ``--memory``: ``512M`` or ``2G``, as QEMU takes it."""
    if not re.fullmatch(r"[1-9][0-9]*[MG]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 512M or 2G")
    if text.endswith("M") and int(text[:-1]) < _LEAST_MEMORY:
        raise argparse.ArgumentTypeError(f"{text} is too little: at least {_LEAST_MEMORY}M")
    return text


def cpu_model(text: str) -> str:
    """Type of ``--cpu-model``: QEMU's name of a processor, with properties behind commas."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.,=+-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a name such as cortex-a72 or max,sve=off"
        )
    return text


_RUN = CommandLine(
    "kwalk lab run",
    "run a command in a virtual machine",
    "Boot a kernel on this machine's own root file system, run COMMAND as root with an empty "
    "stdin, and exit with its exit code. Files that it writes are discarded, except in the folder "
    "of --out. A kernel of another architecture is emulated; programs there are Debian's.",
    options=(
        option(
            "--kernel",
            metavar="NAME",
            default=kernels.DEFAULT,
            complete=Complete.KERNELS,
            help=f"{', '.join(kernels.NAMES)}, or the path of a vmlinuz "
            f"(default: {kernels.DEFAULT})",
        ),
        option(
            "--modules",
            metavar="DIR",
            type=Path,
            complete=Complete.FOLDERS,
            help="module directory of a kernel given by its path",
        ),
        option(
            "--cpus",
            metavar="N",
            type=values.within(limits.LAB_CPUS),
            default=limits.LAB_CPUS.default,
            help=f"virtual CPUs (default: {limits.LAB_CPUS.default})",
        ),
        option(
            "--memory",
            metavar="SIZE",
            type=memory_size,
            default="2G",
            help="guest memory, such as 512M or 2G (default: 2G)",
        ),
        flag(
            "--icount",
            "guest clock counts instructions: one CPU, repeatable timings",
        ),
        flag(
            "--parallel",
            "without KVM: emulate each virtual CPU in a host thread of its own; faster, but a "
            "kernel may panic when it attaches a probe under load",
        ),
        option(
            "--cpu-model",
            metavar="MODEL",
            type=cpu_model,
            help="emulated processor as QEMU's -cpu, such as cortex-a72; never with KVM",
        ),
        option(
            "--timeout",
            metavar="S",
            type=values.seconds,
            help="end the command after S seconds",
        ),
        option(
            "--out",
            metavar="DIR",
            type=Path,
            complete=Complete.FOLDERS,
            help="a folder whose changes are kept",
        ),
        option("--append", metavar="ARGS", default="", help="additional kernel parameters"),
        flag("--verbose", "show the guest's console on stderr"),
        option(
            "argv",
            metavar="COMMAND",
            nargs="+",
            complete=Complete.PROGRAMS,
            help="the command and its arguments",
        ),
    ),
    usage="[OPTIONS] -- COMMAND...",
)
_KERNELS = CommandLine("kwalk lab kernels", "list the available kernels")
_FETCH = CommandLine(
    "kwalk lab fetch",
    "download kernels into the cache",
    options=(option("names", metavar="NAME", nargs="+", choices=words(*kernels.NAMES)),),
)
_HEADERS = CommandLine(
    "kwalk lab headers",
    "print the folder of a kernel's headers, for tools that compile",
    "Download the headers of a kernel into the cache, unless they are there, and print their "
    "folder. bcc takes it from BCC_KERNEL_SOURCE.",
    options=(option("of", metavar="NAME", choices=words(*kernels.SUITES, kernels.FRAME_POINTER)),),
)
_PEERS = CommandLine(
    "kwalk lab peers",
    "print the folder of the newest bpftrace, bcc and perf, for `kwalk bench --tools`",
    f"Download {', '.join(PACKAGES)} of Debian {SUITE} into the cache, unless these versions are "
    "there, with all that they need, and print the folder of their commands. Nothing is installed: "
    "the commands run on their own libc.",
)
_NMI = CommandLine(
    "kwalk lab nmi",
    "inside the lab: inject NMIs into the virtual machine",
    "Inside a virtual machine of `kwalk lab run`: have the host inject NMIs, and exit after the "
    "last one. Linux delivers them to CPU 0 only, unless booted with --append apic_extnmi=all.",
    options=(
        option(
            "--count",
            metavar="N",
            type=values.positive_int,
            default=1,
            help="number of NMIs (default: 1)",
        ),
        option(
            "--interval",
            metavar="S",
            type=values.seconds,
            default=0.0,
            help="seconds of guest time between two NMIs (default: none)",
        ),
    ),
)
LINE = CommandLine(
    "kwalk lab",
    usage="[-h] ACTION ...",
    children={
        "run": _RUN,
        "kernels": _KERNELS,
        "fetch": _FETCH,
        "headers": _HEADERS,
        "peers": _PEERS,
        "nmi": _NMI,
    },
    child="ACTION",
)
