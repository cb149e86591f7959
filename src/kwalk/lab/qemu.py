# SPDX-License-Identifier: MIT
"""The QEMU command line of one machine. Nothing here starts a process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROGRAM = "qemu-system-x86_64"
# The virtio-serial ports of the guest, and all sockets that a machine wants.
PORTS = ("stdout", "stderr", "control", "monitor")
SOCKETS = ("console", "qmp", *PORTS)

# A CPU model without Meltdown, whose page-table switches TCG is slow at, and without the vector
# units that it has to emulate piece by piece; with what x86-64-v2 programs need.
_TCG_CPU = "Opteron_G3,+ssse3,+sse4.1,+sse4.2,+rdrand,+rdseed"


@dataclass(frozen=True)
class Machine:
    """What the virtual machine is made of.

    :ivar image: The kernel.
    :ivar initramfs: Its first root.
    :ivar shares: 9p tag -> folder of the host.
    :ivar writable: The tags of ``shares`` that the guest may write to.
    :ivar ports: Each of :data:`SOCKETS` -> connected socket.
    :ivar memory: As QEMU takes it, such as ``2G``.
    :ivar parallel: Emulate each virtual CPU in a host thread of its own.
    """

    image: Path
    initramfs: Path
    shares: Mapping[str, Path]
    ports: Mapping[str, int]
    writable: Sequence[str] = ()
    cpus: int = 2
    memory: str = "2G"
    icount: bool = False
    parallel: bool = False
    kvm: bool = False
    append: str = field(default="")


def kvm_possible(cpuinfo: str, device: str = "/dev/kvm") -> bool:
    """Tell whether KVM is worth a try; only a boot shows whether it works.

    :param cpuinfo: The text of ``/proc/cpuinfo``.
    """
    flags = {word for line in cpuinfo.splitlines() if line[:5] == "flags" for word in line.split()}
    return bool(flags & {"vmx", "svm"}) and os.access(device, os.W_OK)


def kernel_arguments(machine: Machine) -> str:
    """Return the kernel's command line; the user's own words come last and win."""
    words = ["console=ttyS0", "quiet", "panic=-1", "random.trust_cpu=on"]
    if not machine.kvm:
        # The kernel waits for ticks by counting loops, and panics without any: an emulator that
        # gets no turn on a busy machine looks like a broken timer. KVM's guests leave it out, too.
        words.append("no_timer_check")
    if machine.icount:
        words.append("mitigations=off")
    return " ".join([*words, machine.append]).strip()


def command_line(machine: Machine) -> list[str]:
    """Return the words that start ``machine``."""
    if machine.icount:
        accel = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
    elif machine.kvm:
        accel = ["-accel", "kvm"]
    else:
        # One host thread for all virtual CPUs: with a thread each, a kernel that patches its own
        # code (a probe attached under load) runs into half-written instructions and panics.
        accel = ["-accel", f"tcg,thread={'multi' if machine.parallel else 'single'}"]
    kvm = machine.kvm and not machine.icount
    words = [PROGRAM, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    words += ["-machine", "q35", *accel, "-cpu", "host" if kvm else _TCG_CPU]
    words += ["-smp", "1" if machine.icount else str(machine.cpus), "-m", machine.memory]
    words += ["-kernel", str(machine.image), "-initrd", str(machine.initramfs)]
    words += ["-append", kernel_arguments(machine)]
    words += ["-chardev", f"socket,id=console,fd={machine.ports['console']}"]
    words += ["-serial", "chardev:console", "-device", "virtio-serial-pci,id=ports"]
    words += ["-chardev", f"socket,id=qmp,fd={machine.ports['qmp']}"]
    words += ["-mon", "chardev=qmp,mode=control"]
    for name in PORTS:
        words += ["-chardev", f"socket,id={name},fd={machine.ports[name]}"]
        words += ["-device", f"virtserialport,bus=ports.0,chardev={name},name={name}"]
    for tag, path in machine.shares.items():
        # Root of the guest is not to make what it likes on the host: see kwalk.lab.handed.
        writable = tag in machine.writable
        model = "mapped-xattr" if writable else "none,readonly=on"
        options = f"local,id={tag},security_model={model},multidevs=remap"
        # A comma ends a value; QEMU takes two for one.
        words += ["-fsdev", f"{options},path={str(path).replace(',', ',,')}"]
        words += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return words
