# SPDX-License-Identifier: MIT
"""The BPF code as a shared library: its maps, and the CPUs that run it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from cffi import FFI

from kwalk.abi import COUNT
from kwalk.transport.ring import PAGE

_DECLARATIONS = """
struct host_cpu { uint64_t task, now, ns, random, func_ip, cookie, own_frame, cgroup, cgroups[8],
    stack[128]; int64_t stacked; uint64_t arguments, tick, pause;
    uint32_t cpu, pid, tgid, netns, ring_locked; char comm[16]; };
struct range { uint64_t start, size; uint8_t *memory; };
extern uint64_t host_barriers;
void host_set_pause(void (*function)(void));
void host_set_layout(int64_t (*function)(int question, const char *about));
void host_set_memory(const struct range *all, uint32_t nr);
void *host_map_make(const char *name, uint32_t value_size, uint32_t max_entries,
    uint32_t possible_cpus, int fd);
void host_ring_wraps(void *data, uint64_t size, int fd);
void host_map_unmap(const char *name);
uint32_t host_map_used(const char *name);
uint32_t host_take_written(void *to);
void *host_symbol(const char *name, uint64_t *size, int fd);
int host_run(const char *name, void *ctx, struct host_cpu *cpu);
void host_task(void *task, int pid, int tgid);
int host_task_bytes(void);
int host_cpu_bytes(void);
void host_set_tail(uint32_t slot, int (*program)(void *ctx));
void host_set_tail_program(uint32_t slot, const char *name);
int host_tail_call(void *ctx, uint32_t slot, int *result);
uint64_t host_load(uint64_t address);
long bpf_probe_read_kernel(void *to, uint32_t size, const void *address);
uint32_t bpf_get_smp_processor_id(void);
uint64_t bpf_get_current_task(void);
struct host_planting { uint64_t ip, weight; uint32_t at, kind, flags, times; int32_t stack_id; };
"""
NEVER = (1 << 64) - 1
ffi: Any = FFI()
ffi.cdef(_DECLARATIONS)
_lib: Any = None


def library() -> Any:
    """Load the object that ``built.py`` made."""
    global _lib
    if _lib is None:
        _lib = ffi.dlopen(os.environ["KWALK_HOST_OBJECT"])
        assert _lib.host_cpu_bytes() == ffi.sizeof("struct host_cpu"), "host.h has another one"
    return _lib


class Map:
    """Stand-in for ``kwalk.libbpf.map.Map``, in this process's memory."""

    def __init__(self, name: str, value_size: int, entries: int, cpus: int, file: bool) -> None:
        self.name, self.fd = name, -1
        self._cpus = cpus
        if file:
            self.fd = os.memfd_create(name)
            size = 2 * PAGE + 2 * entries if name == "events" else value_size * entries
            os.truncate(self.fd, -(-size // PAGE) * PAGE)
        self.memory = library().host_map_make(name.encode(), value_size, entries, cpus, self.fd)

    def lookup(self, key: bytes, size: int) -> bytes | None:
        """Return the value of an element."""
        index = int.from_bytes(key, "little")
        if self.name == "counted":
            keys = list(self.each_key(len(key)))
            row = len(key) + size
            at = keys.index(key) * row + len(key)
        elif self.name.startswith("stacks"):
            at = index * (8 + size)
            if not int.from_bytes(ffi.buffer(self.memory + at, 8), "little"):
                return None
            at += 8
        else:
            at = index * size
        return bytes(ffi.buffer(self.memory + at, size))

    def each_key(self, size: int) -> Iterator[bytes]:
        """Yield the keys of a hash of ``struct kw_counted``."""
        row = size + COUNT.size * self._cpus
        for number in range(library().host_map_used(self.name.encode())):
            yield bytes(ffi.buffer(self.memory + number * row, size))

    def update(self, key: bytes, value: bytes) -> None:
        ffi.memmove(self.memory + int.from_bytes(key, "little") * len(value), value, len(value))

    def close(self) -> None:
        if self.fd >= 0:
            library().host_map_unmap(self.name.encode())
            os.close(self.fd)


class Cpu:
    """A CPU with its current task.

    :ivar state: ``struct host_cpu``, which tests may write.
    """

    def __init__(self, number: int, task: int) -> None:
        self.state = ffi.new("struct host_cpu *")
        self.state.cpu = number
        self.state.task = task
        self.state.pause = NEVER
        self.state.now = 10**9
        self.state.ns = 250
        self.state.random = 0x123456789ABCDEF1
        self.task(7, 7, b"redis")

    def task(self, tgid: int, pid: int, comm: bytes) -> None:
        self.state.tgid, self.state.pid = tgid, pid
        self.state.comm = comm.ljust(16, b"\0")

    def unwinds(self, *frames: int, error: int = 0) -> None:
        """Set the stack that the kernel's own unwinder returns from now on."""
        self.state.stack[0 : len(frames)] = list(frames)
        self.state.stacked = error or len(frames)
