# SPDX-License-Identifier: MIT
"""Maps and variables of the programs, read as user space does."""

from __future__ import annotations

import mmap
import os
import re
import struct
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from library import Map, ffi, library

from kwalk.abi import CONTROL_SECTION, COUNT, COUNTED, NODE
from kwalk.transport import context_tree as trees
from kwalk.transport.context_tree import NODE_BYTES, Tree
from kwalk.transport.counters import Counters
from kwalk.transport.filter_maps import Gates
from kwalk.transport.ring import Ring

_HITS = struct.calcsize("<" + "".join(NODE.codes[: NODE.fields.index("sequence")]))


class Outcome:
    """Maps of loaded programs, read by kwalk's own readers."""

    config: dict[str, int | bytes]
    maps: dict[str, Map]
    tree: Tree
    ring: Ring

    def __init__(self, cpus: int) -> None:
        self._lib = library()
        self._cpus = cpus
        self._files: list[int] = []

    def map(self, name: str) -> Any:
        """Stand in for ``Object.map``."""
        if name == CONTROL_SECTION:
            return SimpleNamespace(update=lambda key, data: self.write("control", data))
        if name.startswith("barrier"):  # nothing runs while a test reads
            return SimpleNamespace(fd=0, update=lambda key, value: None)
        return self.maps[name]

    def symbol(self, name: str) -> Any:
        """Return the memory of a variable."""
        size = ffi.new("uint64_t *")
        at = self._lib.host_symbol(name.encode(), size, -1)
        return ffi.buffer(at, size[0])

    def write(self, name: str, data: bytes) -> None:
        """Write a variable."""
        self.symbol(name)[: len(data)] = data

    def beyond(self) -> bytes:
        """Return the tree's memory after the last node that may be used."""
        nodes, mask = (int(self.config[name]) for name in ("nodes", "node_mask"))
        size = mask + NODE_BYTES
        return (self.maps["tree"].lookup(bytes(4), size) or b"")[nodes * NODE_BYTES :]

    def close_files(self) -> None:
        """Close the files of mapped variables."""
        for fd in self._files:
            os.close(fd)

    def hits_of(self, cpu: int) -> int:
        """Return the hits of a CPU's root."""
        at = self.maps["tree"].memory + (1 + cpu) * trees.PER_CPU * NODE_BYTES
        return int.from_bytes(bytes(ffi.buffer(at + _HITS, 8)), "little")

    def counters(self) -> dict[str, int]:
        """Return the sums over all CPUs of the counters that are not 0."""
        with patch("kwalk.transport.counters.possible_cpus", return_value=self._cpus):
            counted = Counters(self).read()  # type: ignore[arg-type]
        return {name: value for name, value in counted.items() if value}

    def records(self, size: int = 64) -> list[bytes]:
        """Return the records in the ring, each with its header in front."""
        step = size + 8
        return [
            bytes(view[at : at + step])
            for view in self.ring.batch(size)
            for at in range(0, len(view), step)
        ]

    def own_gates(self) -> Gates:
        """Return the gates, mapped as in user space."""
        return Gates(self.mapped("gates"), self._cpus)

    def mapped(self, name: str) -> Any:
        """Return a zeroed variable, mapped as in user space."""
        found = Map.__new__(Map)
        found.fd = os.memfd_create(name)
        self._files.append(found.fd)
        size = len(self.symbol(name))
        os.truncate(found.fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        self._lib.host_symbol(name.encode(), ffi.new("uint64_t *"), found.fd)
        return found

    def counted(self) -> dict[bytes, list[bytes]]:
        """Return the helper's counts: key -> values of all CPUs."""
        counted, size = self.maps["counted"], COUNT.size * self._cpus
        found = {}
        for key in counted.each_key(COUNTED.size):
            rows = counted.lookup(key, size) or b""
            found[key] = [rows[at : at + COUNT.size] for at in range(0, size, COUNT.size)]
        return found

    def stack(self, second: bool, stack_id: int) -> list[int]:
        """Return the addresses in a bucket of a stack map."""
        key = stack_id.to_bytes(4, "little")
        data = self.maps["stacks_b" if second else "stacks_a"].lookup(key, 127 * 8)
        return [word for word in struct.unpack("<127Q", data or bytes(127 * 8)) if word]

    def written(self) -> bytes:
        """Return the bytes given to ``bpf_seq_write()``."""
        room = ffi.new("char[4096]")
        size = self._lib.host_take_written(room)
        return bytes(ffi.buffer(room, size))

    def numbers(self, name: str) -> set[int]:
        """Return the numbers of tasks in a filter's bit set."""
        bits = bytes(self.symbol(name))
        found = set()
        for match in re.finditer(rb"[^\0]", bits):
            found |= {8 * match.start() + bit for bit in range(8) if match[0][0] >> bit & 1}
        return found
