# SPDX-License-Identifier: MIT
"""Maps of a loaded object: keys of any size, and numbers stored while programs load them."""

from __future__ import annotations

import mmap
import os
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest

from kwalk.libbpf import ffi
from kwalk.libbpf import map as maps
from kwalk.libbpf.map import Map, store

ENOENT = -2


class Library:
    """libbpf with one hash map; its order is that of insertion."""

    def __init__(self, keys: list[bytes]) -> None:
        self.keys = keys

    def bpf_map__fd(self, handle: Any) -> int:
        return 17

    def bpf_map_get_next_key(self, fd: int, key: Any, following: Any) -> int:
        size = len(self.keys[0]) if self.keys else 0
        at = 0
        if key != ffi().NULL:
            before = bytes(ffi().buffer(key, size))
            # As the kernel does it: after a key that is gone the walk begins anew.
            at = self.keys.index(before) + 1 if before in self.keys else 0
        if at >= len(self.keys):
            return ENOENT
        ffi().memmove(following, self.keys[at], size)
        return 0

    def bpf_map_delete_elem(self, fd: int, key: bytes) -> int:
        if key not in self.keys:
            return ENOENT
        self.keys.remove(key)
        return 0


def keys(size: int, number: int = 5) -> list[bytes]:
    return [bytes([index]) * size for index in range(number)]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library([])
    monkeypatch.setattr(maps, "lib", lambda: library)
    return library


@pytest.mark.parametrize("size", [4, 16])
def test_map_keys_are_each_met_once(library: Library, size: int) -> None:
    library.keys = keys(size)
    assert list(Map(SimpleNamespace(), "counted").each_key(size)) == keys(size)
    library.keys = []
    assert list(Map(SimpleNamespace(), "counted").each_key(size)) == []


def test_keys_are_of_4_bytes_where_nothing_else_is_said(library: Library) -> None:
    library.keys = keys(4)
    assert list(Map(SimpleNamespace(), "stacks_a").each_key()) == keys(4)


def test_map_can_be_emptied_while_it_is_walked(library: Library) -> None:
    library.keys = keys(4)
    stacks = Map(SimpleNamespace(), "stacks_a")
    for key in stacks.each_key():
        stacks.delete(key)
    assert library.keys == []


@pytest.mark.parametrize("size", [4, 8])
def test_stored_number_is_never_seen_in_part(size: int) -> None:
    """A program that loads it meanwhile finds the earlier value or the new one."""
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    value = 0x0102030405060708 >> 8 * (8 - size)
    store(memory, 2 * size, value, size)
    writer = os.fork()
    if not writer:
        while True:
            store(memory, 2 * size, value, size)
    with memoryview(memory).cast("I" if size == 4 else "Q") as words:
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            assert {words[2] for _ in range(1000)} == {value}
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    assert memory[: 2 * size] == bytes(2 * size)
    assert not any(memory[3 * size :])
    memory.close()
