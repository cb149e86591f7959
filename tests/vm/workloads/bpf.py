# SPDX-License-Identifier: MIT
"""Functions called by a running BPF program, whose frames have no rule in any table."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from kwalk.arch import here
from kwalk.model.stack import Frame
from workloads.running import libc, repeat
from workloads.surroundings import SYSCALL, Burst, Surroundings, both, in_module, often, path

_SIZE = 20000  # data beyond 16 KiB is in pages, which a program reads by a helper
_PLACE = 18000
_ALL_BYTES = 0x7FFFFFFF
_LOAD_WORD = struct.pack("HBBI", 0x20, 0, 0, _PLACE)
_DIVIDE = struct.pack("HBBI", 0x34, 0, 0, 3)
_SO_ATTACH_FILTER, _SO_ATTACH_BPF = 26, 50
_PROG_LOAD, _TYPE_SOCKET_FILTER = 5, 1


def _turn_on() -> None:
    """Turn the JIT and its symbols in /proc/kallsyms on, if they can be switched."""
    for name in ("bpf_jit_enable", "bpf_jit_kallsyms"):
        with contextlib.suppress(OSError):
            Path("/proc/sys/net/core", name).write_text("1")


@contextlib.contextmanager
def _datagrams() -> Iterator[tuple[socket.socket, Burst]]:
    _turn_on()
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    data = b"x" * _SIZE

    def exchange() -> None:
        left.send(data)
        right.recv(10)

    with left, right:
        yield right, repeat(exchange)


@contextlib.contextmanager
def filtered() -> Iterator[Burst]:
    """Send through a socket filter: an eBPF program that loads a word of every packet."""
    code = (
        struct.pack("BBhi", 0xBF, 0x16, 0, 0)  # r6 = r1
        + struct.pack("BBhi", 0x20, 0, 0, _PLACE)  # r0 = word of the packet
        + struct.pack("BBhi", 0xB7, 0, 0, _ALL_BYTES)  # r0 = bytes to keep
        + struct.pack("BBhi", 0x95, 0, 0, 0)  # exit
    )
    code_buffer, license_buffer = ctypes.create_string_buffer(code), ctypes.c_char_p(b"GPL")
    attributes = struct.pack(
        "IIQQ",
        _TYPE_SOCKET_FILTER,
        len(code) // 8,
        ctypes.addressof(code_buffer),
        ctypes.cast(license_buffer, ctypes.c_void_p).value,
    ).ljust(72, b"\0")
    program = libc.syscall(here().bpf, _PROG_LOAD, attributes, len(attributes))
    if program < 0:
        raise OSError(ctypes.get_errno(), "the socket filter cannot be loaded")
    try:
        with _datagrams() as (sock, burst):
            sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, program)
            yield burst
    finally:
        os.close(program)


@contextlib.contextmanager
def filtered_classic() -> Iterator[Burst]:
    """Send through a classic BPF filter: the kernel compiles it, but gives it no symbol."""
    with _filtered_by(_LOAD_WORD) as burst:
        yield burst


@contextlib.contextmanager
def busy_filter() -> Iterator[Burst]:
    """Send through a classic filter that divides a word of every packet some thousand times."""
    with _filtered_by(_LOAD_WORD + _DIVIDE * 4000) as burst:
        yield burst


@contextlib.contextmanager
def _filtered_by(code: bytes) -> Iterator[Burst]:
    code += struct.pack("HBBI", 0x06, 0, 0, _ALL_BYTES)
    buffer = ctypes.create_string_buffer(code)
    with _datagrams() as (sock, burst):
        value = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, value)
        yield burst


def _through_nameless(stack: list[Frame]) -> bool:
    """Test for a stack that ends at a program without a symbol, as the kernel's does."""
    if len(stack) == 1:
        return True
    # Ubuntu's kernels do not inline it.
    above = 3 if len(stack) > 2 and stack[2].name == "__bpf_prog_run_save_cb" else 2
    return len(stack) > above and stack[above].name.startswith("sk_filter_trim_cap")


ALL = (
    Surroundings(
        "bpf-program",
        ("bpf_skb_load_helper_32_no_cache",),
        filtered,
        often(both(in_module("bpf"), path("bpf_prog_*", "sk_filter_trim_cap*", root=SYSCALL))),
        brings_code=True,
    ),
    Surroundings(
        "classic-bpf-program",
        ("bpf_skb_load_helper_32",),
        filtered_classic,
        often(_through_nameless),
    ),
)
