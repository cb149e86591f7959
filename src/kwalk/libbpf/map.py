# SPDX-License-Identifier: MIT
"""BPF maps of an object (``struct bpf_map``): sized before load, read and written after."""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import Any

from kwalk.libbpf import check, check_pointer, ffi, lib

BPF_F_MMAPABLE = 1 << 10


class Map:
    """BPF map of an object; keys and values are bytes."""

    def __init__(self, handle: Any, name: str) -> None:
        self._handle = handle
        self.name = name

    @property
    def fd(self) -> int:
        """File descriptor, valid once the object is loaded."""
        return int(lib().bpf_map__fd(self._handle))

    def resize(self, max_entries: int | None = None, value_size: int | None = None) -> None:
        """Set the number of entries, or the value size in bytes. Call before loading."""
        if max_entries is not None:
            check(
                lib().bpf_map__set_max_entries(self._handle, max_entries),
                f"cannot give map {self.name} {max_entries} entries",
            )
        if value_size is not None:
            check(
                lib().bpf_map__set_value_size(self._handle, value_size),
                f"cannot give map {self.name} values of {value_size} bytes",
            )

    def set_autocreate(self, autocreate: bool) -> None:
        """Set whether loading creates the map. Call before loading.

        Without the map, code that uses it must be dead to the verifier.
        """
        result = lib().bpf_map__set_autocreate(self._handle, autocreate)
        check(result, f"cannot set autocreate of map {self.name}")

    def reuse(self, other: Map) -> None:
        """Use another object's map, which is loaded, in place of this one. Call before loading."""
        result = lib().bpf_map__reuse_fd(self._handle, other.fd)
        check(result, f"cannot share map {self.name}")

    def set_mmapable(self) -> None:
        """Set BPF_F_MMAPABLE, so that user space can mmap() the map. Call before loading."""
        result = lib().bpf_map__set_map_flags(self._handle, BPF_F_MMAPABLE)
        check(result, f"cannot make map {self.name} mmapable")

    def set_initial_value(self, data: bytes) -> None:
        """Set the initial contents of a global-data map. Call before loading."""
        size = ffi().new("size_t *")
        start = lib().bpf_map__initial_value(self._handle, size)
        check_pointer(start, f"map {self.name} has no initial value")
        ffi().memmove(start, data, len(data))

    def lookup(self, key: bytes, size: int) -> bytes | None:
        """Return the value of ``key``, ``size`` bytes, or None if there is none."""
        value = ffi().new("char[]", size)
        result = lib().bpf_map_lookup_elem(self.fd, key, value)
        if result == -2:
            return None
        check(result, f"cannot read map {self.name}")
        return bytes(ffi().buffer(value, size))

    def update(self, key: bytes, value: bytes) -> None:
        """Set the value of ``key``."""
        check(lib().bpf_map_update_elem(self.fd, key, value, 0), f"cannot write map {self.name}")

    def delete(self, key: bytes) -> None:
        """Remove ``key``; a missing key is not an error."""
        result = lib().bpf_map_delete_elem(self.fd, key)
        if result != -2:
            check(result, f"cannot delete from map {self.name}")

    def each_key(self, size: int = 4) -> Iterator[bytes]:
        """Iterate over the keys, of ``size`` bytes; the caller may delete the current one."""
        key, following = ffi().NULL, ffi().new("char[]", size)
        while lib().bpf_map_get_next_key(self.fd, key, following) == 0:
            found = bytes(ffi().buffer(following))
            yield found
            key = ffi().new("char[]", found)


def store(memory: mmap, offset: int, value: int, size: int) -> None:
    """Store a number in a mapped map by one access, while programs load it.

    ``struct.pack_into()`` sets the bytes to 0 first, which programs see (``s_pack_internal()`` in
    CPython's Modules/_struct.c).

    :param offset: In bytes, a multiple of ``size``.
    :param size: Bytes of the number: 4 or 8.
    """
    with memoryview(memory) as view, view.cast("I" if size == 4 else "Q") as words:
        words[offset // size] = value
