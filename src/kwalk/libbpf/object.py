# SPDX-License-Identifier: MIT
"""BPF objects (``struct bpf_object``): open, set constants, load, attach, close."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from errno import ENODEV, EOPNOTSUPP
from typing import Any

from kwalk.kernel import shortage
from kwalk.kernel.capabilities import lacks
from kwalk.libbpf import LibbpfError, check, check_pointer, ffi, lib, tracing_multi
from kwalk.libbpf.map import Map
from kwalk.support.text import plural

LOG_SIZE = 1 << 20
ENDLESS = frozenset({"rcu_read_unlock_special"})
"""Functions that trampolines call, and must not trace: the kernel would recurse until it panics.

This one is called by rcu_read_unlock() in __bpf_prog_exit_recur(), kernel/bpf/trampoline.c. There
may be more.
"""
WHY_ENDLESS = "trampolines themselves call it"


class Object:
    """BPF object. Use it in a ``with``, which detaches and unloads everything.

    :param image: Contents of the ELF file.
    :raises LibbpfError: from every method, with the verifier's log after a failed load.
    """

    def __init__(self, image: bytes) -> None:
        self._image = ffi().new("char[]", image)
        self._logs: dict[str, Any] = {}
        self._links: list[Any] = []
        self._auxiliary: list[Any] = []
        self._samples: dict[int, tuple[Any, int]] = {}
        self._fds: list[int] = []
        self._handle = check_pointer(
            lib().bpf_object__open_mem(self._image, len(image), ffi().NULL),
            "libbpf cannot read kwalk's BPF object",
        )

    def __enter__(self) -> Object:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _program(self, name: str) -> Any:
        return check_pointer(
            lib().bpf_object__find_program_by_name(self._handle, name.encode()),
            f"kwalk's BPF object has no program {name}",
        )

    def map(self, name: str) -> Map:
        """Return a map by name. Sections of global data, such as ``.rodata``, are maps too."""
        handle = lib().bpf_object__find_map_by_name(self._handle, name.encode())
        return Map(check_pointer(handle, f"kwalk's BPF object has no map {name}"), name)

    def set_autoload(self, wanted: dict[str, str | None]) -> None:
        """Load only the programs in ``wanted``. Call before loading.

        :param wanted: Program name -> function to attach to by fentry; None for other programs.
        """
        program = lib().bpf_object__next_program(self._handle, ffi().NULL)
        while program != ffi().NULL:
            lib().bpf_program__set_autoload(program, False)
            program = lib().bpf_object__next_program(self._handle, program)
        for name, target in wanted.items():
            program = self._program(name)
            lib().bpf_program__set_autoload(program, True)
            # mmap(): pages are allocated only if the verifier writes a log.
            self._logs[name] = ffi().from_buffer("char[]", mmap.mmap(-1, LOG_SIZE))
            lib().bpf_program__set_log_buf(program, self._logs[name], LOG_SIZE)
            if target is not None:
                self._set_attach_target(program, target)
        if lacks("CAP_SYS_ADMIN"):
            self._skip_module_btfs(next(iter(wanted)))

    def set_tracing(self, name: str, attach_type: int) -> None:
        """Make a program one of type ``tracing``, without a target. Call before loading."""
        program = self._program(name)
        lib().bpf_program__set_type(program, tracing_multi.BPF_PROG_TYPE_TRACING)
        lib().bpf_program__set_expected_attach_type(program, attach_type)

    def _set_attach_target(self, program: Any, function: str) -> None:
        """Set the fentry target of a program.

        :raises LibbpfError: if libbpf does not find the function in the kernel's BTF, or it is one
            of ``ENDLESS``.
        """
        if function in ENDLESS:
            refusal = LibbpfError(f"{WHY_ENDLESS}, and the kernel could panic", EOPNOTSUPP)
            refusal.hint = "Attach by kprobe, which the kernel guards, or leave --attach out."
            raise refusal
        result = lib().bpf_program__set_attach_target(program, 0, function.encode())
        if result < 0:
            hint = shortage.perhaps()
            what = f"the kernel's BTF has no function {function} for fentry"
            unread = f"function {function} was not found in the kernel's BTF for fentry"
            error = LibbpfError(unread if hint else what, -result)
            error.hint = error.hint or hint
            raise error

    def _skip_module_btfs(self, name: str) -> None:
        """Make libbpf search types in vmlinux's BTF only, not in the modules'.

        Listing module BTFs takes CAP_SYS_ADMIN. Without it libbpf 1.1 fails on every weak symbol
        that vmlinux lacks; but it lists them only once (load_module_btfs() in src/libbpf.c). The
        lookup of a function that does not exist uses up this one attempt.
        """
        lib().bpf_program__set_attach_target(self._program(name), 0, b"no function")

    def load(self) -> None:
        """Load the maps and the selected programs into the kernel."""
        result = lib().bpf_object__load(self._handle)
        if result < 0:
            log = "".join(ffi().string(buffer).decode() for buffer in self._logs.values())
            error = LibbpfError("the kernel refuses kwalk's BPF program", -result, log)
            if not log:  # bpf_object__resolve_externs() in src/libbpf.c
                error.hint = error.hint or shortage.perhaps()
            raise error
        self._logs.clear()

    def program_fd(self, name: str) -> int:
        """Return a loaded program's file descriptor."""
        return int(check(lib().bpf_program__fd(self._program(name)), f"program {name}"))

    def program_instructions(self, name: str) -> bytes:
        """Return a program's instructions, with the ids that libbpf found for a loaded one."""
        program = self._program(name)
        number = lib().bpf_program__insn_cnt(program)
        return bytes(
            ffi().buffer(ffi().cast("char *", lib().bpf_program__insns(program)), 8 * number)
        )

    def program_info(self, name: str) -> bytes:
        """Return a program's ``struct bpf_prog_info``, as long as this kernel's version of it."""
        return object_info(self.program_fd(name), 256)

    def machine_code(self, name: str) -> bytes:
        """Return a loaded program's machine code; empty if the kernel does not show it."""
        return machine_code(self.program_fd(name))

    def attach_kprobe(
        self,
        name: str,
        function: str | int,
        offset: int = 0,
        returns: bool = False,
        label: str = "",
        cookie: int = 0,
    ) -> None:
        """Attach a program by kprobe at ``function`` + ``offset`` bytes, or by kretprobe.

        :param function: Name, or address if several functions share a name.
        :param returns: Use a kretprobe.
        :param label: The function's name in errors.
        :param cookie: Value that ``bpf_get_attach_cookie()`` returns in the program.
        """
        opts = ffi().new("struct bpf_kprobe_opts *")
        opts.sz = ffi().sizeof("struct bpf_kprobe_opts")
        opts.bpf_cookie = cookie
        opts.retprobe = returns
        if isinstance(function, int):
            place, opts.offset = ffi().NULL, function + offset
            what = label or f"{function + offset:#x}"
        else:
            place, opts.offset = function.encode(), offset
            what = label or function
        link = lib().bpf_program__attach_kprobe_opts(self._program(name), place, opts)
        self._links.append(check_pointer(link, f"cannot attach a kprobe to {what}"))

    def attach_kprobes(self, name: str, addresses: Sequence[int], returns: bool = False) -> None:
        """Attach a program to the entries or returns of many functions by one kprobe.multi link."""
        opts = ffi().new("struct bpf_kprobe_multi_opts *")
        opts.sz = ffi().sizeof("struct bpf_kprobe_multi_opts")
        array = ffi().new("unsigned long[]", list(addresses))
        opts.addrs, opts.cnt, opts.retprobe = array, len(addresses), returns
        link = lib().bpf_program__attach_kprobe_multi_opts(self._program(name), ffi().NULL, opts)
        what = f"cannot attach kprobe.multi to {plural(len(addresses), 'function')}"
        self._links.append(check_pointer(link, what))

    def attach_traces(
        self, name: str, attach_type: int, ids: Sequence[int], cookies: Sequence[int]
    ) -> None:
        """Attach a program of ``set_tracing`` to many functions by one link.

        :param ids: BTF ids of the functions, of vmlinux.
        :param cookies: Value that ``bpf_get_attach_cookie()`` returns in the program, for each.
        """
        fd = self.program_fd(name)
        self._fds.append(tracing_multi.create(fd, attach_type, ids, cookies))

    def attach_trace(self, name: str, function: str) -> None:
        """Attach a fentry program to the target given to ``set_autoload``."""
        link = lib().bpf_program__attach_trace(self._program(name))
        self._links.append(check_pointer(link, f"cannot attach fentry to {function}"))

    def attach_tracepoint(self, name: str, category: str, event: str) -> None:
        """Attach a program to a tracepoint; an empty category means a raw tracepoint."""
        program = self._program(name)
        if category:
            link = lib().bpf_program__attach_tracepoint(program, category.encode(), event.encode())
        else:
            link = lib().bpf_program__attach_raw_tracepoint(program, event.encode())
        self._links.append(check_pointer(link, f"cannot attach to tracepoint {event}"))

    def attach_samples(self, name: str, cpus: Iterable[int], frequency: int) -> None:
        """Attach a program to a CPU clock of ``frequency`` Hz on each CPU that is online.

        :raises LibbpfError: on any error but ENODEV (offline), or if no CPU is online.
        """
        offline: LibbpfError | None = None
        for cpu in cpus:
            try:
                self.attach_sample(name, cpu, frequency)
            except LibbpfError as error:
                if error.errno != ENODEV:
                    raise
                offline = error
        if offline and not self._samples:
            raise offline

    def attach_sample(self, name: str, cpu: int, frequency: int) -> None:
        """Attach a program to a new clock on one CPU, replacing the CPU's previous one."""
        from kwalk.libbpf.perf import open_cpu_clock

        self.detach_sample(cpu)
        fd = open_cpu_clock(cpu, frequency)
        link = lib().bpf_program__attach_perf_event(self._program(name), fd)
        if link == ffi().NULL:
            os.close(fd)
        self._samples[cpu] = check_pointer(link, f"cannot attach to samples of CPU {cpu}"), fd

    def detach_sample(self, cpu: int) -> None:
        """Remove a CPU's clock."""
        if cpu in self._samples:
            lib().bpf_link__destroy(self._samples.pop(cpu)[0])

    def sample_clocks(self) -> dict[int, int]:
        """Return the sampled nanoseconds of each CPU.

        The value stops when the CPU goes offline, and stays so when it comes back: the kernel does
        not restore the event (perf_event_exit_cpu() in kernel/events/core.c).
        """
        found = {}
        for cpu, (_, fd) in self._samples.items():
            try:
                found[cpu] = int.from_bytes(os.read(fd, 8), "little")
            except OSError:
                found[cpu] = 0
        return found

    def iterate(self, name: str) -> bytes:
        """Run an iterator program (bpf_iter) and return its output."""
        link = lib().bpf_program__attach_iter(self._program(name), ffi().NULL)
        self._auxiliary.append(check_pointer(link, f"cannot attach {name}"))
        fd = check(lib().bpf_iter_create(lib().bpf_link__fd(link)), f"cannot run {name}")
        with open(fd, "rb", buffering=0) as file:
            return file.read()

    def attach_auxiliary(self, name: str) -> None:
        """Attach a program that counts no hits to the tracepoint that its section names."""
        link = lib().bpf_program__attach_trace(self._program(name))
        self._auxiliary.append(check_pointer(link, f"cannot attach {name} to its tracepoint"))

    def link_infos(self) -> Iterator[bytes]:
        """Yield ``struct bpf_link_info`` of each probe's link, as long as this kernel's version."""
        for link in self._links:
            yield object_info(lib().bpf_link__fd(link), 128)

    def run(self, name: str, context: bytes) -> tuple[int, bytes]:
        """Run a loaded ``syscall`` program once; return its result and its context afterwards."""
        data = ffi().new("char[]", context)
        opts = ffi().new("struct bpf_test_run_opts *")
        opts.sz = ffi().sizeof("struct bpf_test_run_opts")
        opts.ctx_in = data
        opts.ctx_size_in = len(context)
        result = lib().bpf_prog_test_run_opts(self.program_fd(name), opts)
        check(result, f"cannot run program {name}")
        code = struct.unpack("i", struct.pack("I", opts.retval))[0]
        return code, bytes(ffi().buffer(data, len(context)))

    def detach(self) -> None:
        """Destroy every link; programs and maps stay until ``close``."""
        for links in (self._links, self._auxiliary):
            while links:
                lib().bpf_link__destroy(links.pop())
        while self._fds:
            os.close(self._fds.pop())
        for cpu in list(self._samples):
            self.detach_sample(cpu)

    def close(self) -> None:
        """Detach and unload everything; further calls do nothing."""
        self.detach()
        if self._handle is not None:
            lib().bpf_object__close(self._handle)
            self._handle = None


# struct bpf_prog_info, include/uapi/linux/bpf.h: jited_prog_len and jited_prog_insns
_JITED_LENGTH, _JITED_CODE, _JITED_BYTES = 16, 24, 32


def machine_code(fd: int) -> bytes:
    """Return the machine code of a program and its subprograms, in the order of the object.

    Empty if it is interpreted, or the kernel hides addresses (``kernel.kptr_restrict``).
    """
    (size,) = struct.unpack_from("<I", object_info(fd, _JITED_BYTES), _JITED_LENGTH)
    code = ffi().new("char[]", size or 1)
    asked = bytearray(_JITED_BYTES)
    struct.pack_into("<I", asked, _JITED_LENGTH, size)
    struct.pack_into("<Q", asked, _JITED_CODE, int(ffi().cast("uintptr_t", code)))
    object_info(fd, _JITED_BYTES, bytes(asked))
    return bytes(ffi().buffer(code, size)) if any(ffi().buffer(code, size)) else b""


def object_info(fd: int, size: int, asked: bytes = b"") -> bytes:
    """Return the kernel's info struct of a program, map or link fd, at most ``size`` bytes.

    :param asked: The struct's content before the call: where the kernel is to write more.
    """
    info = ffi().new("char[]", asked.ljust(size, b"\0"))
    length = ffi().new("__u32 *", size)
    check(lib().bpf_obj_get_info_by_fd(fd, info, length), "cannot read an object's info")
    return bytes(ffi().buffer(info, min(size, length[0])))
