# SPDX-License-Identifier: MIT
"""BPF programs that are not in an object: loaded from instructions, put into arrays of programs."""

from __future__ import annotations

import mmap
import os
import struct
from typing import NamedTuple

from kwalk.errors import NotSupported
from kwalk.insn import INSN_BYTES
from kwalk.libbpf import LibbpfError, check, ffi, lib
from kwalk.libbpf.map import Map

_LICENSE = b"Dual MIT/GPL"
_LOG_SIZE = 1 << 20
_CALL, _KFUNC = 0x85, 2  # BPF_JMP | BPF_CALL, BPF_PSEUDO_KFUNC_CALL
# struct bpf_prog_info, include/uapi/linux/bpf.h
_TYPE_AT, _ATTACH_AT = 0, 220


class ProgramKind(NamedTuple):
    """Type of a program; all programs in one array must have the same.

    :ivar type: ``enum bpf_prog_type``.
    :ivar attach_type: ``enum bpf_attach_type``; 0 where the type has none.
    :ivar object_id: Id of the BTF with the function that it attaches to; 0 without one.
    :ivar function_id: The function's id in it.
    """

    type: int
    attach_type: int = 0
    object_id: int = 0
    function_id: int = 0

    @classmethod
    def of(cls, info: bytes, attach_type: int) -> ProgramKind:
        """Return the kind of a loaded program.

        :param info: Its ``struct bpf_prog_info``.
        :raises NotSupported: if this kernel does not tell (before 6.0).
        """
        kind = struct.unpack_from("I", info, _TYPE_AT)[0]
        if not attach_type:
            return cls(kind)
        if len(info) < _ATTACH_AT + 8:
            raise NotSupported("this kernel does not tell what a program attaches to (before 6.0)")
        return cls(kind, attach_type, *struct.unpack_from("II", info, _ATTACH_AT))


def kfunc_id(instructions: bytes) -> int:
    """Return the BTF id of the kernel function that a program calls; 0 if it calls none."""
    for code, registers, _, imm in struct.iter_unpack("<BBhi", instructions):
        if code == _CALL and registers >> 4 == _KFUNC:
            return int(imm)
    return 0


def load(name: str, instructions: bytes, kind: ProgramKind, of_module: bool) -> int:
    """Load a program and return its file descriptor.

    :param of_module: The function that it attaches to is a module's.
    :raises LibbpfError: with the verifier's log, if the kernel refuses it.
    """
    opts = ffi().new("struct bpf_prog_load_opts *")
    opts.sz = ffi().sizeof("struct bpf_prog_load_opts")
    opts.expected_attach_type = kind.attach_type
    opts.attach_btf_id = kind.function_id
    btf = -1
    if of_module:
        btf = check(lib().bpf_btf_get_fd_by_id(kind.object_id), "cannot open a module's BTF")
        opts.attach_btf_obj_fd = btf
    code = ffi().from_buffer(instructions)
    number = len(instructions) // INSN_BYTES
    insns = ffi().cast("const struct bpf_insn *", code)
    try:
        fd = int(lib().bpf_prog_load(kind.type, name.encode(), _LICENSE, insns, number, opts))
        if fd >= 0:
            return fd
        refusal = -fd
        log = ffi().from_buffer("char[]", mmap.mmap(-1, _LOG_SIZE))
        opts.log_buf, opts.log_size, opts.log_level = log, _LOG_SIZE, 1
        fd = int(lib().bpf_prog_load(kind.type, name.encode(), _LICENSE, insns, number, opts))
        if fd >= 0:
            return fd
        text = ffi().string(log).decode(errors="replace")
        raise LibbpfError(f"the kernel refuses program {name}", refusal, text)
    finally:
        if btf >= 0:
            os.close(btf)


def put(array: Map, slot: int, fd: int) -> None:
    """Put a program into a slot of an array of programs, from which it can be tail-called."""
    array.update(struct.pack("I", slot), struct.pack("I", fd))


def clear(array: Map, slot: int) -> None:
    """Empty a slot of an array of programs."""
    array.delete(struct.pack("I", slot))
