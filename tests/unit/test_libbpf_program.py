# SPDX-License-Identifier: MIT
"""Loading of programs that are not in an object."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kwalk.errors import NotSupported
from kwalk.insn import Assembler, Helper, Reg
from kwalk.libbpf import LibbpfError, ffi, program
from kwalk.libbpf.program import ProgramKind, kfunc_id


def test_kfunc_is_that_of_the_first_call() -> None:
    asm = Assembler()
    asm.load_number(Reg.R1, 0x85 | 0x20 << 8 | 99 << 32)  # an immediate like a call
    asm.call(Helper.GET_SMP_PROCESSOR_ID)
    asm.call_kfunc(70000)
    asm.call_kfunc(5)
    assert kfunc_id(asm.assemble()) == 70000


def test_kfunc_is_absent_without_a_call() -> None:
    asm = Assembler()
    asm.call(Helper.TAIL_CALL)
    asm.exit()
    assert kfunc_id(asm.assemble()) == kfunc_id(b"") == 0
    # A call of another function of the object: BPF_PSEUDO_CALL.
    assert kfunc_id(struct.pack("<BBhi", 0x85, 1 << 4, 0, 12)) == 0


INFO = struct.pack("I", 26) + bytes(216) + struct.pack("II", 7, 4711)


def test_kind_is_read_from_a_programs_info() -> None:
    assert ProgramKind.of(INFO, 24) == ProgramKind(26, 24, 7, 4711)
    assert ProgramKind.of(INFO + bytes(32), 24) == ProgramKind(26, 24, 7, 4711)


def test_kind_needs_no_function_without_an_attach_type() -> None:
    assert ProgramKind.of(INFO, 0) == ProgramKind.of(INFO[:64], 0) == ProgramKind(26)


@pytest.mark.parametrize("size", [64, 220, 224, 227])
def test_kind_is_unknown_where_the_info_is_short(size: int) -> None:
    with pytest.raises(NotSupported, match="does not tell"):
        ProgramKind.of(INFO[:size], 24)


def test_offsets_are_those_of_the_header(c_output: Callable[..., str]) -> None:
    printed = c_output(
        """
        #include <linux/bpf.h>
        #include <stddef.h>
        #include <stdio.h>
        #define AT(member) offsetof(struct bpf_prog_info, member)
        int main(void)
        {
            printf("%zu %zu %zu", AT(type), AT(attach_btf_obj_id), AT(attach_btf_id));
        }
        """
    )
    assert printed == "0 220 224"


class Library:
    """Stands in for libbpf.

    :ivar results: Of each call of bpf_prog_load().
    :ivar calls: Arguments of each, and members of its options.
    """

    def __init__(self, *results: int) -> None:
        self.results = list(results)
        self.calls: list[tuple[Any, ...]] = []
        self.btf = -1

    def bpf_btf_get_fd_by_id(self, number: int) -> int:
        self.btf = os.dup(0) if number == 7 else -errno.ENOENT
        return self.btf

    def bpf_prog_load(
        self, kind: int, name: bytes, license_: bytes, insns: Any, number: int, opts: Any
    ) -> int:
        code = bytes(ffi().buffer(ffi().cast("char *", insns), 8 * number))
        self.calls.append(
            (kind, name, license_, code, opts.expected_attach_type, opts.attach_btf_id,
             opts.attach_btf_obj_fd, opts.log_level)
        )  # fmt: skip
        assert opts.sz == ffi().sizeof(opts[0])
        if opts.log_level:
            ffi().memmove(opts.log_buf, b"R1 invalid mem access\0", 22)
            assert opts.log_size == 1 << 20
        return self.results.pop(0)


CODE = bytes(range(16))


def loaded(monkeypatch: pytest.MonkeyPatch, *results: int) -> Library:
    library = Library(*results)
    monkeypatch.setattr(program, "lib", lambda: library)
    return library


def test_programs_are_loaded_as_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    library = loaded(monkeypatch, 9)
    assert program.load("kw_hot", CODE, ProgramKind(26, 24, 7, 4711), False) == 9
    assert library.calls == [(26, b"kw_hot", b"Dual MIT/GPL", CODE, 24, 4711, 0, 0)]


def test_functions_of_modules_are_in_their_btf(monkeypatch: pytest.MonkeyPatch) -> None:
    library = loaded(monkeypatch, 9)
    assert program.load("kw_hot", CODE, ProgramKind(26, 24, 7, 4711), True) == 9
    assert library.calls[0][6] == library.btf > 0
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(library.btf)


def test_refused_programs_are_tried_again_for_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    library = loaded(monkeypatch, -errno.EINVAL, -errno.EACCES)
    with pytest.raises(LibbpfError) as caught:
        program.load("kw_hot", CODE, ProgramKind(26, 24, 7, 4711), True)
    assert caught.value.log == "R1 invalid mem access"
    assert "the kernel refuses program kw_hot" in caught.value.what
    assert [call[7] for call in library.calls] == [0, 1]
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(library.btf)


def test_programs_may_be_accepted_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first error was of another kind: memory, or a signal."""
    loaded(monkeypatch, -errno.EAGAIN, 12)
    assert program.load("kw_hot", CODE, ProgramKind(2), False) == 12


def test_slots_are_filled_and_emptied() -> None:
    done: list[tuple[bytes, ...]] = []
    array: Any = SimpleNamespace(
        update=lambda key, value: done.append((key, value)), delete=lambda key: done.append((key,))
    )
    program.put(array, 1, 300)
    program.clear(array, 0)
    assert done == [(b"\1\0\0\0", b"\x2c\1\0\0"), (b"\0\0\0\0",)]
