# SPDX-License-Identifier: MIT
"""The helper's two maps: which one is read, and what is read of it."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from kwalk.abi import CONTROL, CONTROL_SECTION
from kwalk.libbpf import LibbpfError
from kwalk.transport.stack_maps import StackMaps


class Map:
    """A map in plain memory, which says what is done to it."""

    def __init__(self, name: str, done: list[str]) -> None:
        self.name = name
        self.fd = 17
        self.data: dict[bytes, bytes] = {}
        self.fails = False
        self._done = done

    def lookup(self, key: bytes, size: int) -> bytes | None:
        if self.fails:
            raise LibbpfError("cannot read", errno.ENOMEM)
        value = self.data.get(key)
        return None if value is None else value[:size].ljust(size, b"\0")

    def update(self, key: bytes, value: bytes) -> None:
        self._done.append(self.name)
        self.data[key] = value

    def each_key(self, size: int = 4) -> Iterator[bytes]:
        assert size == 4
        return iter(list(self.data))

    def delete(self, key: bytes) -> None:
        del self.data[key]


class Object:
    """What a loaded object has of maps."""

    def __init__(self) -> None:
        self.done: list[str] = []
        names = ("stacks_a", "stacks_b", "barrier", "barrier_inner", CONTROL_SECTION)
        self.maps = {name: Map(name, self.done) for name in names}

    def map(self, name: str) -> Map:
        return self.maps[name]


@pytest.fixture
def obj() -> Object:
    return Object()


def opened(obj: Any, depth: int = 3, control: dict[str, int] | None = None) -> StackMaps:
    return StackMaps(obj, depth, {} if control is None else control)


def key(number: int) -> bytes:
    return number.to_bytes(4, "little")


@pytest.mark.parametrize("depth", [1, 3, 127])
def test_stack_is_its_addresses_and_zeros(obj: Object, depth: int) -> None:
    addresses = (0xFFFFFFFF81000000, 0xFFFFFFFF81000110)[:depth]
    obj.maps["stacks_b"].data[key(0x1234)] = struct.pack(f"<{len(addresses)}Q", *addresses)
    maps = opened(obj, depth)
    assert maps.stack(1, 0x1234) == addresses + (0,) * (depth - len(addresses))
    assert maps.stack(0, 0x1234) is None
    assert maps.stack(1, 0x1235) is None


def test_stack_that_cannot_be_read_is_gone(obj: Object) -> None:
    obj.maps["stacks_a"].data[key(1)] = bytes(24)
    obj.maps["stacks_a"].fails = True
    assert opened(obj).stack(0, 1) is None


def test_new_stacks_go_to_the_other_map_before_the_wait(obj: Object) -> None:
    control = {"stack_size": 16384}
    maps = opened(obj, control=control)
    for idle in (0, 1, 0):
        obj.done.clear()
        assert maps.swap() == idle
        assert obj.done == [CONTROL_SECTION, "barrier"]
        told = CONTROL.unpack(obj.maps[CONTROL_SECTION].data[bytes(4)])
        assert told == CONTROL.unpack(CONTROL.pack({"stack_size": 16384, "active_map": 1 - idle}))
    assert obj.maps["barrier"].data == {bytes(4): key(17)}


def test_clear_empties_the_idle_map_only(obj: Object) -> None:
    for name in ("stacks_a", "stacks_b"):
        obj.maps[name].data = {key(number): bytes(24) for number in range(9)}
    opened(obj).clear(1)
    assert (len(obj.maps["stacks_a"].data), len(obj.maps["stacks_b"].data)) == (9, 0)


def test_wait_updates_a_map_of_maps(obj: Object) -> None:
    opened(obj).wait()
    assert obj.done == ["barrier"]
