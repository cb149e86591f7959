# SPDX-License-Identifier: MIT
"""One command in a new virtual machine: boot, run, return output and exit code."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kwalk.errors import KwalkError, NotSupported
from kwalk.lab import handed, initramfs, kernels, kvm, qemu, userland
from kwalk.lab.watch import BOOT_TIMEOUT, BootError, Watch
from kwalk.lab.writer import PatientWriter
from kwalk.support.parentage import ends_with_us

_PR_CAPBSET_DROP = 24
_CAP_FSETID = 4


@dataclass(frozen=True)
class MachineOptions:
    """Options of a run in the lab.

    :ivar kernel: A name of :data:`kwalk.lab.kernels.NAMES`, or the path of a kernel image.
    :ivar modules: Modules folder of a kernel given by its path; None searches near it.
    :ivar cpus: Number of virtual CPUs; one if ``icount`` is set.
    :ivar memory: Memory in QEMU's syntax, such as ``2G``.
    :ivar icount: Let the guest's clock count executed instructions (1 ns each).
    :ivar parallel: Without KVM, emulate each virtual CPU in its own host thread.
    :ivar cpu_model: Emulated processor as QEMU's ``-cpu``, never with KVM; None for the default.
    :ivar timeout: Limit of the command's run time in seconds; None for no limit.
    :ivar out: Folder that the guest can write to at the same path; created if necessary.
    :ivar append: Additional kernel arguments.
    :ivar verbose: Show the guest's console on stderr.
    :ivar env: The command's environment; None for this process's own.
    :ivar cwd: The command's working directory; None for this process's own.
    """

    kernel: str = kernels.DEFAULT
    modules: Path | None = None
    cpus: int = 2
    memory: str = "2G"
    icount: bool = False
    parallel: bool = False
    cpu_model: str | None = None
    timeout: float | None = None
    out: Path | None = None
    append: str = ""
    verbose: bool = False
    env: Mapping[str, str] | None = None
    cwd: Path | None = None


def run(
    options: MachineOptions,
    command: Sequence[str],
    stdout: BinaryIO | None = None,
    stderr: BinaryIO | None = None,
) -> int:
    """Run a command, with an empty stdin, in a new virtual machine.

    Its environment has ``KWALK_LAB``, the kernel's name, and ``KWALK_LAB_CLOCK``: ``time``, or
    ``instructions`` if a nanosecond is one instruction. Processes that it leaves are killed.

    :param command: The command and its arguments.
    :param stdout: Receives the command's stdout as it comes; by default this process's own.
    :param stderr: Likewise for stderr.
    :return: The command's exit code; 128 + N if signal N ended it.
    :raises KwalkError: if the machine cannot be started, panics, hangs, or exceeds its time.
    """
    platform = kernels.platform_of(options.kernel)
    if not shutil.which(platform.program):
        raise NotSupported(
            f"{platform.program} is not on this machine, which {options.kernel} runs in",
            f"Install Debian's package {platform.package}.",
        )
    kernel = kernels.find(options.kernel, options.modules)
    with _writers(stdout or sys.stdout.buffer, stderr or sys.stderr.buffer) as writers:
        emulated = options.icount or options.cpu_model
        if not emulated and kvm.worth_a_try(platform):
            try:
                code = _boot(options, kernel, command, *writers, use_kvm=True)
            except BootError:
                kvm.remember(works=False)
            else:
                kvm.remember(works=True)
                return code
        return _boot(options, kernel, command, *writers)


@contextmanager
def _writers(stdout: BinaryIO, stderr: BinaryIO) -> Iterator[tuple[PatientWriter, PatientWriter]]:
    with ExitStack() as stack:
        pair = PatientWriter(stdout), PatientWriter(stderr)
        for writer in pair:
            stack.callback(writer.close)
        yield pair


def _boot(
    options: MachineOptions,
    kernel: kernels.Kernel,
    command: Sequence[str],
    stdout: PatientWriter,
    stderr: PatientWriter,
    use_kvm: bool = False,
) -> int:
    """Run the command in one machine, forward its output, and return its exit code."""
    token = secrets.token_hex(16)
    shares = _shares(options, kernel)
    programs = shares.get("userland")
    settings = {
        "token": token,
        "modules": "yes" if "modules" in shares else "",
        "out": str(shares.get("out", "")),
        "userland": "yes" if programs else "",
        **(userland.settings(programs) if programs else {}),
    }
    env = _environment(options)
    if programs:
        env["PATH"] = userland.search_path(env["PATH"])
    job = initramfs.job(command, env, options.cwd or Path.cwd(), settings)
    tools = programs / "bin" / "busybox" if programs else initramfs.busybox()
    with ExitStack() as stack:
        if "out" in shares:
            stack.callback(handed.settle, shares["out"])  # when the machine is gone
        image = _in_memory(initramfs.base(kernel, tools) + job)
        stack.callback(os.close, image)
        pairs = {name: socket.socketpair() for name in qemu.SOCKETS}
        for pair in pairs.values():
            stack.enter_context(pair[0])
            stack.enter_context(pair[1])
        fds = {name: theirs.fileno() for name, (_, theirs) in pairs.items()}
        machine = qemu.Machine(
            platform=kernel.platform,
            image=kernel.image,
            initramfs=Path(f"/dev/fd/{image}"),
            shares=shares,
            writable=("out",),
            ports=fds,
            cpus=options.cpus,
            memory=options.memory,
            icount=options.icount,
            parallel=options.parallel,
            kvm=use_kvm,
            cpu_model=options.cpu_model,
            append=options.append,
        )
        words = qemu.command_line(machine)
        process = stack.enter_context(_started(words, [image, *fds.values()]))
        for _, theirs in pairs.values():
            theirs.close()  # QEMU has its own copy; EOF comes when only that is closed
        watch = Watch(
            {name: ours for name, (ours, _) in pairs.items()},
            token.encode(),
            stdout,
            stderr,
            options.verbose,
        )
        limit = kvm.ANSWER_TIMEOUT if use_kvm else BOOT_TIMEOUT
        return watch.until_the_end(process, options.timeout, limit)


def _shares(options: MachineOptions, kernel: kernels.Kernel) -> dict[str, Path]:
    """Return the host folders that the guest mounts: 9p tag -> folder."""
    shares = {"root": Path("/")}
    if kernel.modules:
        shares["modules"] = kernel.modules
    if not kernel.platform.is_native:
        shares["userland"] = userland.find(kernel.platform)
    if options.out:
        shares["out"] = _made(options.out.absolute())
    return shares


def _made(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror
        if out.is_symlink() and not out.exists():
            why = "it is a link that leads nowhere"
        what = f"the folder {out} cannot be made: {why}"
        raise KwalkError(what, "Give --out a folder of its own.") from error
    handed.check(out)
    return out


def _environment(options: MachineOptions) -> dict[str, str]:
    env = dict(os.environ if options.env is None else options.env)
    env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    env.setdefault("HOME", "/root")
    env["KWALK_LAB"] = options.kernel
    env["KWALK_LAB_CLOCK"] = "instructions" if options.icount else "time"
    return env


def _in_memory(data: bytes) -> int:
    """Return a memfd with the data, which needs no removal however this process ends."""
    fd = os.memfd_create("initramfs")
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    return fd


@contextmanager
def _started(words: list[str], fds: list[int]) -> Iterator[subprocess.Popen[bytes]]:
    """Start QEMU, and kill it at the end of the block in any case."""
    libc = ctypes.CDLL(None, use_errno=True)
    bind = ends_with_us()

    def prepare() -> None:
        bind()
        # So that root's writes to a set-uid file clear that bit, like any user's.
        libc.prctl(_PR_CAPBSET_DROP, _CAP_FSETID)

    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=fds,
        # Ctrl-C on the terminal must not reach QEMU, which is killed below.
        start_new_session=True,
        preexec_fn=prepare,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
