# SPDX-License-Identifier: MIT
"""QEMU's command line for one machine; starts no process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kwalk.lab.platforms import Platform

# The guest's virtio-serial ports, and all sockets of a machine.
PORTS = ("stdout", "stderr", "control", "monitor")
SOCKETS = ("console", "qmp", *PORTS)


@dataclass(frozen=True)
class Machine:
    """Configuration of a virtual machine.

    :ivar platform: Its architecture.
    :ivar image: Kernel image.
    :ivar shares: 9p tag -> host folder.
    :ivar writable: Tags of ``shares`` that the guest may write to.
    :ivar ports: Each of :data:`SOCKETS` -> file descriptor of a connected socket.
    :ivar memory: Memory in QEMU's syntax, such as ``2G``.
    :ivar parallel: Emulate each virtual CPU in its own host thread.
    :ivar cpu_model: Emulated processor as QEMU's ``-cpu``; None for the architecture's default.
    """

    platform: Platform
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
    cpu_model: str | None = None
    append: str = field(default="")


def kvm_possible(platform: Platform, cpuinfo: str, device: str = "/dev/kvm") -> bool:
    """Return whether KVM may work; only a boot shows whether it does.

    :param platform: The guest's architecture; KVM runs this machine's own only.
    :param cpuinfo: Text of ``/proc/cpuinfo``.
    """
    if not platform.is_native:
        return False
    flags = {word for line in cpuinfo.splitlines() if line[:5] == "flags" for word in line.split()}
    able = not platform.kvm_flags or bool(flags & platform.kvm_flags)
    return able and os.access(device, os.W_OK)


def kernel_arguments(machine: Machine) -> str:
    """Return the kernel's command line; the user's own words come last and take precedence."""
    console = machine.platform.console
    words = [f"console={console}", "quiet", "panic=-1", "random.trust_cpu=on"]
    if not machine.kvm:
        words += machine.platform.arguments
    if machine.icount:
        words.append("mitigations=off")
    return " ".join([*words, machine.append]).strip()


def _emulated_cpu(machine: Machine) -> str:
    cpu = machine.cpu_model or machine.platform.cpu
    clock = machine.platform.icount_cpu if machine.icount else ""
    return f"{cpu},{clock}" if clock else cpu


def command_line(machine: Machine) -> list[str]:
    """Return the arguments that start ``machine``, the program first."""
    if machine.icount:
        accel = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
    elif machine.kvm:
        accel = ["-accel", "kvm"]
    else:
        # One host thread for all virtual CPUs: with a thread each, a kernel that patches its own
        # code (a probe attached under load) runs into half-written instructions and panics.
        accel = ["-accel", f"tcg,thread={'multi' if machine.parallel else 'single'}"]
    platform = machine.platform
    kvm = machine.kvm and not machine.icount
    words = [platform.program, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    words += ["-machine", platform.kvm_board if kvm else platform.board, *accel]
    words += ["-cpu", "host" if kvm else _emulated_cpu(machine)]
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
        # Restricts the guest's root on the host's file system: see kwalk.lab.handed.
        writable = tag in machine.writable
        model = "mapped-xattr" if writable else "none,readonly=on"
        options = f"local,id={tag},security_model={model},multidevs=remap"
        # A comma ends a value; a double comma stands for one.
        words += ["-fsdev", f"{options},path={str(path).replace(',', ',,')}"]
        words += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return words
