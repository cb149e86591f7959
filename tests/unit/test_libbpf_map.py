# SPDX-License-Identifier: MIT
"""Maps of a loaded object are walked key by key, whatever a key's size."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kwalk.libbpf import ffi
from kwalk.libbpf import map as maps
from kwalk.libbpf.map import Map

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
