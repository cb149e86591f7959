# SPDX-License-Identifier: MIT
"""Types of the kernel (BTF, /sys/kernel/btf/vmlinux) that programs and links name by id."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Self

from kwalk.libbpf import LibbpfError, check_pointer, ffi, lib

# include/uapi/linux/btf.h: BTF_KIND_*
_STRUCTS = (4, 5)
_FUNCTION, _VARIABLE = 12, 14
_NAMES_AND_QUALIFIERS = (8, 9, 10, 11, 18)
_MOST_ARGUMENTS = 12  # MAX_BPF_FUNC_ARGS in include/linux/bpf.h


class KernelBtf:
    """The kernel's BTF. Use it in a ``with``.

    :raises LibbpfError: if it cannot be read.
    """

    def __init__(self) -> None:
        self._btf = check_pointer(lib().btf__load_vmlinux_btf(), "the kernel's BTF cannot be read")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        lib().btf__free(self._btf)

    def function(self, name: str) -> int:
        """Return a function's id; 0 if there is none of this name."""
        return self._find(name, _FUNCTION)

    def variable(self, name: str) -> int:
        """Return a variable's id; 0 if there is none of this name."""
        return self._find(name, _VARIABLE)

    def size(self, number: int) -> int:
        """Return the size in bytes of a type or variable."""
        return int(lib().btf__resolve_size(self._btf, number))

    def why_no_trampoline(self, function: int) -> str:
        """Return why the kernel makes no trampoline for a function; "" if it does.

        btf_distill_func_proto() in kernel/bpf/btf.c.

        :param function: Id of the function.
        """
        prototype = self._type(self._type(function).type)
        arguments = prototype.info & 0xFFFF
        parameters = ffi().cast("struct btf_param *", prototype + 1)
        if arguments and not parameters[arguments - 1].type:
            return "it takes a variable number of arguments"
        if arguments > _MOST_ARGUMENTS:
            return f"it takes more than {_MOST_ARGUMENTS} arguments"
        returned = prototype.type
        while returned and _kind(found := self._type(returned)) in _NAMES_AND_QUALIFIERS:
            returned = found.type
        if returned and _kind(self._type(returned)) in _STRUCTS:
            return "it returns a struct"
        return ""

    def _find(self, name: str, kind: int) -> int:
        """Return the id of the first type of this name and kind; 0 if there is none.

        Kernels sort their types by name from 7.0 on. Where they do not, or have no such type, a
        search through all of them follows.
        """
        word = name.encode(errors="replace")
        ids = range(1, int(lib().btf__type_cnt(self._btf)))
        for at in range(bisect_left(ids, word, key=self._name) + 1, len(ids) + 1):
            if self._name(at) != word:
                break
            if _kind(self._type(at)) == kind:
                return at
        return max(int(lib().btf__find_by_name_kind(self._btf, word, kind)), 0)

    def _type(self, number: int) -> Any:
        return lib().btf__type_by_id(self._btf, number)

    def _name(self, number: int) -> bytes:
        offset = self._type(number).name_off
        return bytes(ffi().string(lib().btf__name_by_offset(self._btf, offset)))


def _kind(found: Any) -> int:
    return int(found.info >> 24 & 0x1F)


def variable_ids(wanted: Mapping[str, int]) -> tuple[int, ...]:
    """Return the BTF ids of variables of vmlinux; none if one is missing or of another size.

    :param wanted: Names, and sizes in bytes.
    """
    try:
        with KernelBtf() as btf:
            found = tuple(btf.variable(name) for name in wanted)
            sizes = [btf.size(each) if each else 0 for each in found]
    except LibbpfError:
        return ()
    return found if sizes == list(wanted.values()) else ()
