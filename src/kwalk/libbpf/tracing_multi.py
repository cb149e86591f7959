# SPDX-License-Identifier: MIT
"""Links of one program to many trampolines, as ``fentry`` and ``fexit`` have (7.2).

libbpf 1.0 does not know them, so this asks the kernel itself: ``tracing_multi`` of ``link_create``
in ``union bpf_attr`` (include/uapi/linux/bpf.h).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from kwalk.arch import here
from kwalk.libbpf import LibbpfError, ffi, system_call
from kwalk.support.text import plural

BPF_PROG_TYPE_TRACING = 26
BPF_TRACE_FENTRY_MULTI, BPF_TRACE_FEXIT_MULTI = 59, 60
_LINK_CREATE = 28


def create(program: int, attach_type: int, ids: Sequence[int], cookies: Sequence[int]) -> int:
    """Attach a loaded program to functions of vmlinux; return the link's file descriptor.

    :param program: File descriptor of the program.
    :param attach_type: The program's expected attach type.
    :param ids: BTF ids of the functions.
    :param cookies: Value that ``bpf_get_attach_cookie()`` returns, for each function.
    :raises LibbpfError: if the kernel refuses any of them.
    """
    numbers, values = ffi().new("__u32[]", list(ids)), ffi().new("__u64[]", list(cookies))
    addresses = (int(ffi().cast("uintptr_t", each)) for each in (numbers, values))
    no_target = no_flags = 0
    head = (program, no_target, attach_type, no_flags)
    attr = struct.pack("<IIIIQQI4x", *head, *addresses, len(ids))
    link = system_call(here().bpf, _LINK_CREATE, ffi().new("char[]", attr), len(attr))
    if link < 0:
        what = f"cannot attach to {plural(len(ids), 'function')} by trampolines"
        raise LibbpfError(what, ffi().errno)
    return link
