# SPDX-License-Identifier: MIT
"""Many places are attached to; those that refuse are told, and the rest go on."""

from __future__ import annotations

import errno
import resource
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.bench.empty import EmptyProgram
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import LibbpfError
from kwalk.libbpf.object import Object
from kwalk.probe import attach_multi, load
from kwalk.probe.attach import attach, names_for_trampolines
from kwalk.probe.selection import Selection
from kwalk.probe.target import Target

BASE = 0xFFFFFFFF81000000
SYMBOLS = Kallsyms(
    b"ffffffff81000000 t show\nffffffff81000010 t show\n"
    + b"".join(b"%x t f%d\n" % (BASE + 16 * number, number) for number in range(2, 40))
)


def targets(*numbers: int, returns: bool = False) -> Selection:
    """The functions of these numbers; 0 and 1 have the same name."""
    return Selection(
        "some",
        tuple(
            Target("show" if n < 2 else f"f{n}", BASE + 16 * n, "", returns=returns)
            for n in numbers
        ),
    )


class Kernel:
    """What is attached, and what refuses to be."""

    def __init__(self, *refuses: int, number: int = errno.EINVAL) -> None:
        self.refuses = {BASE + 16 * n for n in refuses}
        self.number = number
        self.attached: list[int] = []
        self.calls: list[tuple[Any, ...]] = []

    def attach_kprobes(self, program: str, addresses: list[int], returns: bool) -> None:
        self.calls.append((program, len(addresses), returns))
        if self.refuses & set(addresses):
            raise LibbpfError("cannot", self.number)
        self.attached += addresses

    def attach_kprobe(
        self,
        program: str,
        function: str | int,
        offset: int,
        returns: bool,
        label: str,
        cookie: int = 0,
    ) -> None:
        self.calls.append((program, function, offset, returns, cookie))
        if cookie in self.refuses:
            raise LibbpfError(f"cannot attach a kprobe to {label}", self.number)
        self.attached.append(cookie)

    def attach_traces(
        self, program: str, attach_type: int, ids: list[int], cookies: list[int]
    ) -> None:
        self.calls.append((program, attach_type, len(ids)))
        assert [BASE + 16 * number for number in ids] == cookies
        if self.refuses & set(cookies):
            raise LibbpfError("cannot", self.number)
        self.attached += cookies


class Numbered:
    """Has each function f2, f3, ... with its number as id; ``lacks`` and ``refuses`` some."""

    def __init__(self, lacks: tuple[str, ...] = (), refuses: tuple[int, ...] = ()) -> None:
        self._lacks, self._refuses = lacks, refuses

    def __call__(self) -> Numbered:
        return self

    def __enter__(self) -> Numbered:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def function(self, name: str) -> int:
        return 0 if name in self._lacks or name == "show" else int(name[1:])

    def why_no_trampoline(self, number: int) -> str:
        return "it returns a struct" if number in self._refuses else ""


@pytest.fixture(autouse=True)
def btf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach_multi, "KernelBtf", Numbered())


@given(st.sets(st.integers(2, 39), min_size=2), st.sets(st.integers(2, 39)))
def test_refused_functions_are_skipped_and_the_rest_attached(
    chosen: set[int], refusing: set[int]
) -> None:
    for way in ("kprobe.multi", "fentry.multi", "kprobe"):
        kernel: Any = Kernel(*refusing)
        if chosen <= refusing:
            with pytest.raises(LibbpfError):
                attach(kernel, way, targets(*chosen), SYMBOLS)
            continue
        refused = attach(kernel, way, targets(*chosen), SYMBOLS)
        assert {skip.target.address for skip in refused} == {
            BASE + 16 * n for n in chosen & refusing
        }
        assert sorted(kernel.attached) == sorted(BASE + 16 * n for n in chosen - refusing)


def test_multi_attaches_all_functions_in_one_call() -> None:
    kernel: Any = Kernel()
    assert attach(kernel, "kretprobe.multi", targets(*range(2, 40), returns=True), SYMBOLS) == []
    assert kernel.calls == [("kw_multi", 38, True)]


@pytest.mark.parametrize("way", ["fentry.multi", "fexit.multi"])
def test_trampolines_are_attached_by_one_link(way: str) -> None:
    kernel: Any = Kernel()
    some = targets(*range(2, 40), returns=way == "fexit.multi")
    assert attach(kernel, way, some, SYMBOLS) == []
    attach_type = {"fentry.multi": 59, "fexit.multi": 60}[way]
    assert kernel.calls == [(f"kw_{way.replace('.', '_')}", attach_type, 38)]


def test_functions_without_a_trampoline_are_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attach_multi, "KernelBtf", Numbered(("f5",), (7,)))
    some = targets(0, 1, 4, 5, 6, 7, 8)
    module = Target("f9", BASE + 16 * 9, "overlay")
    some = some._replace(targets=(*some.targets, module))
    kernel: Any = Kernel(8)
    refused = attach(kernel, "fentry.multi", some, SYMBOLS)
    assert [(skip.target.name, skip.why.partition(":")[0]) for skip in refused] == [
        ("show", "another one has the same name"),
        ("show", "another one has the same name"),
        ("f5", "the kernel's BTF does not have it"),
        ("f7", "it returns a struct"),
        ("f9", "it is a module's"),
        ("f8", "the kernel refuses it"),
    ]
    assert kernel.attached == [BASE + 16 * 4, BASE + 16 * 6]


def test_trampoline_is_found_by_another_name_of_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attach_multi, "KernelBtf", Numbered(("f5",)))
    symbols = Kallsyms(b"%x t f5\n%x t f4\n%x t f6\n" % (BASE + 64, BASE + 64, BASE + 96))
    kernel: Any = Kernel()
    some = Selection("f5", (Target("f5", BASE + 64, ""),))
    assert attach(kernel, "fentry.multi", some, symbols) == []
    assert kernel.attached == [BASE + 64]


def test_no_trampoline_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach_multi, "KernelBtf", Numbered(("f5", "f6")))
    kernel: Any = Kernel()
    some = targets(0, 5, 6)
    with pytest.raises(LibbpfError, match="3 functions without a trampoline") as caught:
        attach(kernel, "fentry.multi", some, SYMBOLS)
    assert "(another one has the same name; the kernel's BTF does not have it)" in caught.value.what
    assert caught.value.errno == errno.EOPNOTSUPP
    assert kernel.calls == []


def test_function_that_trampolines_call_is_never_the_target_of_one() -> None:
    """The kernel would panic, whoever attaches: a probe, a level for nested hits, or the bench."""
    with Object(load.image()) as obj, pytest.raises(LibbpfError, match="trampolines themselves"):
        obj.set_autoload({"kw_fentry": "rcu_read_unlock_special"})
    with pytest.raises(LibbpfError, match="trampolines themselves"):
        EmptyProgram("rcu_read_unlock_special", "fentry")


# What the kernel says of one function, and what it says whichever function it is.
OF_ONE = ["EINVAL", "ENOENT", "ESRCH", "EILSEQ", "EADDRNOTAVAIL", "EBUSY", "EEXIST"]
OF_ALL = [
    *("EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "EAGAIN", "EDQUOT"),
    *("ENODEV", "EPERM", "EACCES", "ENOSYS", "EOPNOTSUPP", "E2BIG", "EIO"),
]


@pytest.mark.parametrize("way", ["kprobe", "kprobe.multi", "fentry.multi"])
@pytest.mark.parametrize("name", OF_ONE)
def test_refusals_of_single_functions_leave_the_others_attached(way: str, name: str) -> None:
    kernel: Any = Kernel(5, 9, number=getattr(errno, name))
    refused = attach(kernel, way, targets(*range(2, 12)), SYMBOLS)
    assert sorted(skip.target.name for skip in refused) == ["f5", "f9"]
    assert len(kernel.attached) == 8


@pytest.mark.parametrize("name", OF_ALL)
def test_refusals_that_are_not_a_functions_end_attaching_at_the_first(name: str) -> None:
    kernel: Any = Kernel(4, 5, 6, 7, number=getattr(errno, name))
    with pytest.raises(LibbpfError) as caught:
        attach(kernel, "kprobe", targets(2, 3, 4, 5, 6, 7), SYMBOLS)
    assert len(kernel.calls) == 3
    assert "cannot attach a kprobe to f4: " in caught.value.what
    assert caught.value.what.endswith("with 2 of 6 functions attached to")
    assert caught.value.errno == getattr(errno, name)


@pytest.mark.parametrize("name", OF_ALL)
def test_refusals_that_are_not_a_functions_end_halving(name: str) -> None:
    kernel: Any = Kernel(5, number=getattr(errno, name))
    with pytest.raises(LibbpfError, match="with 0 of 3 functions attached to"):
        attach(kernel, "kprobe.multi", targets(4, 5, 6), SYMBOLS)
    assert len(kernel.calls) == 1


@pytest.mark.parametrize("way", ["kprobe", "kprobe.multi", "fentry.multi"])
@given(refusing=st.sets(st.integers(2, 39)))
def test_progress_counts_what_is_attached(way: str, refusing: set[int]) -> None:
    kernel: Any = Kernel(*refusing)
    seen: list[int] = []

    def watch(attached: int, total: int) -> None:
        assert (attached, total) == (len(kernel.attached), 38)
        seen.append(attached)

    with suppress(LibbpfError):
        attach(kernel, way, targets(*range(2, 40)), SYMBOLS, watch)
    assert seen


def test_kprobes_raise_the_soft_limit_of_files_to_what_they_take() -> None:
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    kernel: Any = Kernel()
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, old[1]))
    try:
        attach(kernel, "kprobe", targets(*range(2, 40)), SYMBOLS)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 2 * 38 + 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)


def test_functions_of_one_name_are_found_by_their_addresses() -> None:
    kernel: Any = Kernel()
    attach(kernel, "kprobe", targets(0, 1, 2), SYMBOLS)
    assert kernel.calls == [
        ("kw_kprobe", BASE, 0, False, BASE),
        ("kw_kprobe", BASE + 16, 0, False, BASE + 16),
        ("kw_kprobe", BASE + 32, 0, False, BASE + 32),
    ]


def test_functions_of_modules_are_found_by_their_names() -> None:
    kernel: Any = Kernel()
    modules = [target._replace(module="m") for target in targets(2, 3).targets]
    attach(kernel, "kprobe", Selection("some", tuple(modules)), SYMBOLS)
    assert [call[1] for call in kernel.calls] == ["f2", "f3"]


@pytest.mark.parametrize("way", ["kprobe", "kprobe.multi", "fentry.multi"])
def test_watch_callback_may_end_attaching(way: str) -> None:
    seen: list[tuple[int, int]] = []

    def watch(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) == 3:
            raise KeyboardInterrupt

    kernel: Any = Kernel(2)
    with pytest.raises(KeyboardInterrupt):
        attach(kernel, way, targets(*range(2, 10)), SYMBOLS, watch)
    assert {total for _, total in seen} == {8}
    assert seen == sorted(seen)
    assert seen[0] == (0, 8)


ALIASES = Kallsyms(
    b"ffffffff81000000 T __do_a\nffffffff81000000 T __ia32_a\nffffffff81000000 t twice\n"
    b"ffffffff81000010 t twice\nffffffff82000000 d datum\nffffffff81000020 t datum\n"
)


def test_fentry_may_use_every_name_that_nothing_else_has() -> None:
    asked = Target("__ia32_a", BASE, "")
    assert names_for_trampolines(asked, ALIASES) == ["__ia32_a", "__do_a"]
    # Under the name that something else has, too, fentry would find that.
    assert names_for_trampolines(Target("datum", BASE + 32, ""), ALIASES) == []
    assert names_for_trampolines(Target("twice", BASE + 16, ""), ALIASES) == []


def test_kprobe_goes_by_address_where_data_has_the_same_name() -> None:
    kernel: Any = Kernel()
    attach(kernel, "kprobe", Selection.one(Target("datum", BASE + 32, "")), ALIASES)
    assert kernel.calls[0][1] == BASE + 32


class Btf:
    """An object for a kernel whose BTF has these functions."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.chosen: dict[str, str | None] = {}

    def set_autoload(self, wanted: dict[str, str | None]) -> None:
        for name in filter(None, wanted.values()):
            if name not in self.names:
                raise LibbpfError(f"no function {name}", errno.ESRCH)
        self.chosen = wanted


def test_fentry_takes_the_name_that_btf_has() -> None:
    obj: Any = Btf("__do_a")
    load.choose_name(obj, {"other": None}, "kw_fentry", ["__ia32_a", "__do_a"])
    assert obj.chosen == {"other": None, "kw_fentry": "__do_a"}
    with pytest.raises(LibbpfError, match="no function __ia32_a"):
        load.choose_name(Btf(), {}, "kw_fentry", ["__ia32_a", "__do_a"])  # type: ignore[arg-type]
