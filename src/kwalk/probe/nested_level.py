# SPDX-License-Identifier: MIT
"""Programs for nested hits: each takes the hits that the kernel refused to the levels below."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from kwalk.abi import (
    ACTIVE,
    ACTIVES_SECTION,
    GATES,
    GATES_SECTION,
    LEVELS,
)
from kwalk.errors import NotSupported
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf.object import Object
from kwalk.probe import function_code
from kwalk.probe.attach import HOT_PROGRAMS, PROGRAMS, names_for_trampolines
from kwalk.probe.beside import load_beside
from kwalk.probe.load import Loaded, choose_name
from kwalk.probe.target import Target
from kwalk.transport.counters import possible_cpus

NESTED_PROGRAMS = {"fentry": "kw_fentry_nested", "fexit": "kw_fexit_nested"}
ACTIVES_PROGRAM = "kw_actives"
_ACTIVES_BYTES = 8 * GATES * (LEVELS - 1)
_OFFSETS = "__per_cpu_offset"  # include/asm-generic/percpu.h
_PROG_ID = 4  # include/uapi/linux/bpf.h: struct bpf_prog_info


class NestedLevel:
    """The program of a level above 0, loaded.

    :param base: Level 0.
    :param way: One of ``NESTED_PROGRAMS``, by which level 0 is attached.
    :param below: The levels between it and level 0, the lowest first.
    :raises KwalkError: if the kernel refuses it, or does not tell where the flags of programs are.
    """

    def __init__(
        self,
        base: Loaded,
        way: str,
        target: Target,
        symbols: Kallsyms,
        below: Sequence[NestedLevel],
    ) -> None:
        self.level = 1 + len(below)
        self._way, self._target, self._symbols = way, target, symbols
        self.obj = load_beside(base, self.level, self._choose, {})
        try:
            own = (HOT_PROGRAMS if base.hot else PROGRAMS)[way]
            lower = [(base.obj, own), *((level.obj, level.program) for level in below)]
            self._nest([_id(obj, name) for obj, name in lower])
            if base.sections.get(GATES_SECTION):
                base.gates.add(self.obj.map(GATES_SECTION))
        except BaseException:
            self.obj.close()
            raise

    @property
    def program(self) -> str:
        """Name of the program in the object."""
        return NESTED_PROGRAMS[self._way]

    def attach(self) -> None:
        """Attach the program."""
        self.obj.attach_trace(self.program, self._target.name)

    def _choose(self, obj: Object) -> None:
        wanted = dict.fromkeys((self.program, ACTIVES_PROGRAM, function_code.PROGRAM))
        choose_name(obj, wanted, self.program, names_for_trampolines(self._target, self._symbols))

    def _nest(self, ids: Sequence[int]) -> None:
        """Write for each CPU where the kernel counts that programs with these ids are running."""
        found = {
            row["id"]: row["active"]
            for row in map(ACTIVE.unpack, _rows(self.obj.iterate(ACTIVES_PROGRAM), ACTIVE.size))
        }
        if not all(found.get(number) for number in ids):
            raise NotSupported("the kernel does not tell where it counts that a program is running")
        words: list[int] = []
        for offset in self._cpu_offsets():
            active = [(found[number] + offset) & (1 << 64) - 1 for number in ids]
            words += active + [0] * (LEVELS - 1 - len(active))
        table = struct.pack(f"<{len(words)}Q", *words)
        self.obj.map(ACTIVES_SECTION).update(bytes(4), table.ljust(_ACTIVES_BYTES, b"\0"))

    def _cpu_offsets(self) -> list[int]:
        """Return the offset of per-CPU pointers, for each possible CPU."""
        cpus, offsets = possible_cpus(), self._symbols.address(_OFFSETS)
        if not offsets and cpus == 1:
            return [0]  # CONFIG_SMP=n
        words = self.memory(offsets, 8 * cpus) if offsets else b""
        if not words:
            raise NotSupported(f"the kernel's {_OFFSETS} cannot be read")
        return list(struct.unpack(f"<{cpus}Q", words))

    def memory(self, address: int, size: int) -> bytes:
        """Return bytes of kernel memory; empty if they cannot be read."""
        return function_code.read(self.obj, address, size)


def _id(obj: Object, program: str) -> int:
    return int(struct.unpack_from("<I", obj.program_info(program), _PROG_ID)[0])


def _rows(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data) - size + 1, size)]
