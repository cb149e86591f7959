# SPDX-License-Identifier: MIT
"""Memory of a synthetic kernel: areas of bytes, unmapped between them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_WORD = struct.Struct("<Q")


class Memory:
    """Areas by address, read by the code of bpf/ and by the reference unwinder."""

    def __init__(self) -> None:
        self._areas: list[tuple[int, bytearray]] = []
        self._last = 0, bytearray()  # area of the last access

    def area(self, address: int, size: int) -> int:
        """Add an area of zeros; return its address."""
        assert not any(a < address + size and address < a + len(b) for a, b in self._areas)
        self._areas.append((address, bytearray(size)))
        self._areas.sort()
        return address

    def __iter__(self) -> Iterator[tuple[int, bytearray]]:
        return iter(self._areas)

    def _find(self, address: int, size: int) -> tuple[bytearray, int] | None:
        start, data = self._last
        if start <= address and address + size <= start + len(data):
            return data, address - start
        for start, data in self._areas:
            if start <= address and address + size <= start + len(data):
                self._last = start, data
                return data, address - start
        return None

    def read(self, address: int, size: int) -> bytes | None:
        """Return bytes, None if not all of them are mapped."""
        found = self._find(address, size)
        return bytes(found[0][found[1] : found[1] + size]) if found else None

    def word(self, address: int) -> int:
        """Return a 64-bit word, 0 if it is not mapped."""
        data = self.read(address & (1 << 64) - 1, 8)
        return int(_WORD.unpack(data)[0]) if data else 0

    def put(self, address: int, data: bytes) -> None:
        """Write bytes."""
        found = self._find(address, len(data))
        assert found, f"no memory at {address:#x}"
        found[0][found[1] : found[1] + len(data)] = data

    def put_word(self, address: int, value: int) -> None:
        """Write a 64-bit word."""
        self.put(address, _WORD.pack(value & (1 << 64) - 1))

    def put_int(self, address: int, value: int) -> None:
        """Write a 32-bit word."""
        self.put(address, struct.pack("<I", value & 0xFFFFFFFF))
