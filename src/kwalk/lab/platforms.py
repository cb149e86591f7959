# SPDX-License-Identifier: MIT
"""Processor architectures of virtual machines: QEMU's program and devices, formats of images.

Everything in the lab that differs by architecture is a member of :class:`Platform`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

_HERE = os.uname().machine
# Strict, because the release becomes a part of paths.
_RELEASE = r"[0-9A-Za-z][\w.+~-]{0,127}"
_BZ_VERSION_AT = 0x20E  # boot protocol header: where the bzImage keeps its version, less 0x200
_ARM64_MAGIC_AT = 56
# The start of /proc/version, with the builder behind the release.
_BANNER = re.compile(rb"Linux version (" + _RELEASE.encode() + rb") \(")


def is_release(text: str) -> bool:
    """Return whether a text can be the output of ``uname -r``."""
    return bool(re.fullmatch(_RELEASE, text, re.ASCII))


def bz_image_release(data: bytes) -> str:
    """Return the release in a bzImage's header, see Documentation/arch/x86/boot.rst; "" if none."""
    start = int.from_bytes(data[_BZ_VERSION_AT : _BZ_VERSION_AT + 2], "little") + 0x200
    words = data[start : start + 0x1000].partition(b"\0")[0].decode("ascii", "replace").split()
    return words[0] if data[0x202:0x206] == b"HdrS" and words and is_release(words[0]) else ""


def arm64_image_release(data: bytes) -> str:
    """Return the release in the banner of an arm64 ``Image``; "" if it is not one.

    Its header (Documentation/arch/arm64/booting.rst) has no version.
    """
    if data[_ARM64_MAGIC_AT : _ARM64_MAGIC_AT + 4] != b"ARM\x64":
        return ""
    found = _BANNER.search(data)
    return found[1].decode("ascii") if found else ""


@dataclass(frozen=True)
class Platform:
    """Architecture of a guest.

    :ivar name: Output of ``uname -m``.
    :ivar debian: Debian's name of it.
    :ivar program: QEMU's program.
    :ivar package: Debian's package of ``program``.
    :ivar board: QEMU's ``-machine`` under emulation.
    :ivar kvm_board: QEMU's ``-machine`` with KVM.
    :ivar console: Linux's name of the serial console.
    :ivar cpu: QEMU's ``-cpu`` under emulation.
    :ivar icount_cpu: CPU property for ``--icount``, by which the guest's clock has steps of 1 ns.
    :ivar arguments: Kernel arguments under emulation.
    :ivar kvm_flags: Flags in ``/proc/cpuinfo``, of which KVM needs one; empty if it needs none.
    :ivar has_nmi: QEMU can inject NMIs.
    :ivar unwinder: The kernel's only unwinder; "" if its configuration has a choice.
    :ivar image_title: Format of a kernel image, for messages.
    :ivar image_release: Returns the release of a kernel image; "" for other data.
    """

    name: str
    debian: str
    program: str
    package: str
    board: str
    kvm_board: str
    console: str
    cpu: str
    icount_cpu: str
    arguments: tuple[str, ...]
    kvm_flags: frozenset[str]
    has_nmi: bool
    unwinder: str
    image_title: str
    image_release: Callable[[bytes], str]

    @property
    def is_native(self) -> bool:
        """Whether this machine has the same architecture, so that its programs run in the guest."""
        return self.name == _HERE


X86_64 = Platform(
    name="x86_64",
    debian="amd64",
    program="qemu-system-x86_64",
    package="qemu-system-x86",
    board="q35",
    kvm_board="q35",
    console="ttyS0",
    # A CPU that is not vulnerable to Meltdown, as TCG is slow at page-table switches, and without
    # AVX, as TCG emulates vector units piece by piece; with the features of x86-64-v2.
    cpu="Opteron_G3,+ssse3,+sse4.1,+sse4.2,+rdrand,+rdseed",
    icount_cpu="",
    # The kernel's timer check counts loops and panics if no tick comes, as when a busy host
    # does not schedule the emulator. Guests on KVM skip the check as well.
    arguments=("no_timer_check",),
    kvm_flags=frozenset({"vmx", "svm"}),
    has_nmi=True,
    unwinder="",
    image_title="x86 kernel image (bzImage)",
    image_release=bz_image_release,
)
ARM64 = Platform(
    name="aarch64",
    debian="arm64",
    program="qemu-system-aarch64",
    package="qemu-system-arm",
    board="virt,gic-version=3",
    kvm_board="virt,gic-version=host",
    console="ttyAMA0",
    # Every feature that changes return addresses (PAC, BTI, 52-bit addresses). QEMU computes
    # signatures by its own, fast algorithm, and no SVE, which it emulates piece by piece.
    cpu="max,pauth-impdef=on,sve=off",
    icount_cpu="cntfrq=1000000000",
    arguments=(),
    kvm_flags=frozenset(),
    # The board has no NMI, and Debian's kernels are built without CONFIG_ARM64_PSEUDO_NMI.
    has_nmi=False,
    unwinder="frame pointer",
    image_title="arm64 one (Image, not compressed)",
    image_release=arm64_image_release,
)
PLATFORMS = (X86_64, ARM64)


def native() -> Platform:
    """Return this machine's architecture; x86-64's if the lab does not know it."""
    return next((platform for platform in PLATFORMS if platform.is_native), X86_64)
