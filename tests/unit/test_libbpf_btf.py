# SPDX-License-Identifier: MIT
"""Ids of the kernel's types, and which functions have no trampoline."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from kwalk.libbpf import LibbpfError, btf, ffi
from kwalk.libbpf.btf import KernelBtf, variable_ids

INT, STRUCT, UNION, TYPEDEF, CONST, FUNC, PROTO, VAR = 1, 4, 5, 8, 10, 12, 13, 14


class Type(NamedTuple):
    """A type; ``of`` is the id of another, ``arguments`` are those of a prototype's."""

    name: str
    kind: int
    of: int = 0
    arguments: tuple[int, ...] = ()


# Nameless ones come first, as in the kernel's. Ids begin at 1.
SORTED = [
    *(Type("", PROTO, 0, (10,)), Type("", PROTO, 10), Type("", PROTO, 10, (10, 0))),
    *(Type("", PROTO, 10, (10,) * 12), Type("", PROTO, 10, (10,) * 13), Type("", PROTO, 8)),
    *(Type("", CONST, 9), Type("", TYPEDEF, 7), Type("", STRUCT), Type("an_int", INT)),
    *(Type("b", FUNC, 1), Type("b", INT), Type("c", VAR, 10), Type("d", FUNC, 2)),
    *(Type("e", FUNC, 3), Type("f", FUNC, 4), Type("g", FUNC, 5), Type("h", FUNC, 6)),
]


class Library:
    """libbpf with these types, which counts how often it searched through them all."""

    def __init__(self, types: list[Type]) -> None:
        self._types, self._kept = types, []
        self._names = [ffi().new("char[]", each.name.encode()) for each in types]
        for number, each in enumerate(types):
            made: Any = ffi().new("__u32[]", 3 + 2 * len(each.arguments))
            made[0], made[1], made[2] = number, each.kind << 24 | len(each.arguments), each.of
            for place, argument in enumerate(each.arguments):
                made[4 + 2 * place] = argument
            self._kept.append(made)
        self.searches = self.open = 0

    def btf__load_vmlinux_btf(self) -> Any:
        self.open += 1
        return ffi().cast("struct btf *", 1 if self._types else 0)

    def btf__free(self, _btf: object) -> None:
        self.open -= 1

    def btf__type_cnt(self, _btf: object) -> int:
        return len(self._types) + 1

    def btf__type_by_id(self, _btf: object, number: int) -> Any:
        return ffi().cast("struct btf_type *", self._kept[number - 1])

    def btf__name_by_offset(self, _btf: object, offset: int) -> Any:
        return self._names[offset]

    def btf__resolve_size(self, _btf: object, _number: int) -> int:
        return 8

    def btf__find_by_name_kind(self, _btf: object, name: bytes, kind: int) -> int:
        self.searches += 1
        found = [
            n for n, t in enumerate(self._types, 1) if (t.name.encode(), t.kind) == (name, kind)
        ]
        return found[0] if found else -2


def made(monkeypatch: pytest.MonkeyPatch, types: list[Type]) -> Library:
    library = Library(types)
    monkeypatch.setattr(btf, "lib", lambda: library)
    return library


def test_functions_of_sorted_types_are_found_without_a_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = made(monkeypatch, SORTED)
    with KernelBtf() as found:
        assert [found.function(name) for name in "bdefgh"] == [11, 14, 15, 16, 17, 18]
        assert found.variable("c") == 13
        assert library.searches == 0
        assert [found.function(name) for name in ("a", "an_int", "c", "zz", "")] == [0] * 5
    assert library.open == 0


def test_functions_of_unsorted_types_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, SORTED[::-1])
    with KernelBtf() as found:
        assert [found.function(name) for name in ("b", "h", "zz")] == [8, 1, 0]
    # The last ones are out of order, as after types that were added later.
    made(monkeypatch, [*SORTED, Type("a", FUNC, 1)])
    with KernelBtf() as found:
        assert [found.function(name) for name in ("a", "b", "h")] == [19, 11, 18]


def test_functions_without_a_trampoline_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, SORTED)
    with KernelBtf() as found:
        why = {name: found.why_no_trampoline(found.function(name)) for name in "bdefgh"}
    assert why == {
        **dict.fromkeys("bdf", ""),
        "e": "it takes a variable number of arguments",
        "g": "it takes more than 12 arguments",
        "h": "it returns a struct",
    }


def test_kernel_without_btf_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, [])
    with pytest.raises(LibbpfError, match="the kernel's BTF cannot be read"):
        KernelBtf()
    assert variable_ids({"c": 8}) == ()


def test_variables_have_ids_if_all_are_there_and_of_this_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made(monkeypatch, SORTED)
    assert variable_ids({"c": 8}) == (13,)
    assert variable_ids({"c": 4}) == variable_ids({"c": 8, "b": 8}) == ()
