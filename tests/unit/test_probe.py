# SPDX-License-Identifier: MIT
"""Which ways of attaching are tried, in which order, and what a user is told of those that fail."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kwalk.abi import (
    CONFIG,
    CONFIG_SECTION,
    CONTROL,
    CONTROL_SECTION,
    DIGITS_SECTION,
    FACTS,
    Method,
    NodeKind,
    Output,
    Start,
    Unwinder,
)
from kwalk.arch import here
from kwalk.engine.budget import CALL_NS, call_ns
from kwalk.errors import KwalkError, UsageError
from kwalk.kernel import features, switches
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.kernel.switches import SwitchedOff
from kwalk.libbpf import LibbpfError, stats
from kwalk.libbpf.object import ENDLESS
from kwalk.options.probe import ProbeOptions
from kwalk.probe import attach_multi, beside, diagnose, load, switched_off
from kwalk.probe import config as setting
from kwalk.probe.open import open_probe
from kwalk.probe.probe import Probe, selection_notes
from kwalk.probe.selection import Selection
from kwalk.probe.target import Target
from kwalk.transport.context_tree import NODE_BYTES, PER_CPU, Tree
from kwalk.transport.ring import PAGE

SYMBOLS = Kallsyms(b"ffffffff81000000 T _stext\nffffffff81000100 T ip_rcv\nffffffff81000200 T b\n")
ENTRY = Target("ip_rcv", 0xFFFFFFFF81000100, "")
INSIDE = ENTRY._replace(offset=0x20)
RETURN = ENTRY._replace(returns=True)
COMMON = bytes.fromhex("f30f1efa 0f1f440000 55 4889e5 415541")


class KernelMap:
    """A map, of which sizes and contents are noted."""

    def __init__(self, kernel: Kernel, name: str) -> None:
        self._kernel = kernel
        self._name = name

    @property
    def fd(self) -> int:
        """A file as large as a value, in pages."""
        fd = os.memfd_create(self._name)
        os.truncate(fd, -(-self._kernel.sizes[self._name]["value_size"] // PAGE) * PAGE)
        self._kernel.files.append(fd)
        return fd

    def resize(self, **sizes: int) -> None:
        self._kernel.sizes[self._name] = sizes

    def set_mmapable(self) -> None:
        self._kernel.sizes[self._name] = {"shared": 1}

    def set_autocreate(self, autocreate: bool) -> None:
        self._kernel.sizes[self._name] = {"autocreate": autocreate}

    def set_initial_value(self, data: bytes) -> None:
        if self._name == CONFIG_SECTION:
            self._kernel.config.append(CONFIG.unpack(data))
        else:
            self._kernel.tables.append((self._name, data))

    def lookup(self, _key: bytes, _size: int) -> bytes:
        if self._name == "calls":
            return self._kernel.code
        return CONFIG.pack(self._kernel.config[-1])

    def reuse(self, other: KernelMap) -> None:
        self._kernel.sizes[self._name] = {"reused": 1}

    def update(self, key: bytes, data: bytes) -> None:
        self._kernel.order.append(self._name)
        if self._name == CONTROL_SECTION:
            self._kernel.control.append(CONTROL.unpack(data))


class CountedTree(Tree):
    """The mapped memory, of which there is to be no more than one."""

    mapped = 0

    def __init__(self, obj: Any, cpus: int, size: int, levels: int = 1) -> None:
        super().__init__(obj, cpus, size, levels)
        CountedTree.mapped += 1

    def close(self) -> None:
        super().close()
        CountedTree.mapped -= 1


class Kernel:
    """What was done to it, and what it answers.

    :ivar refuses: Program and place that it does not attach, each with an errno.
    """

    def __init__(self) -> None:
        self.refuses: dict[str, int] = {}
        self.facts: dict[str, int | bytes] = {"unwinder": Unwinder.FRAME_POINTER}
        self.attached: list[tuple[Any, ...]] = []
        self.config: list[dict[str, int]] = []
        self.tables: list[tuple[str, bytes]] = []
        self.control: list[dict[str, int]] = []
        self.sizes: dict[str, dict[str, int]] = {}
        self.files: list[int] = []
        self.order: list[str] = []
        self.code = b""
        self.open = 0

    def object(self, _image: bytes) -> Any:
        """A new BPF object."""
        self.open += 1
        return SimpleNamespace(
            set_autoload=self._choose,
            load=lambda: None,
            map=lambda name: KernelMap(self, name),
            run=lambda name, context: (0, FACTS.pack(self.facts)),
            attach_kprobe=lambda *what: self._attach("kprobe", *what[:4]),
            attach_trace=lambda *what: self._attach("trace", *what),
            set_tracing=lambda program, kind: self.order.append(f"{program} is {kind}"),
            attach_traces=lambda *what: self._attach("traces", *what),
            attach_kprobes=lambda *what: self._attach("kprobes", *what),
            close=self._close,
        )

    def _choose(self, wanted: dict[str, str | None]) -> None:
        if not ENDLESS.isdisjoint(wanted.values()):
            raise LibbpfError("trampolines themselves call it", errno.EOPNOTSUPP)

    def _close(self) -> None:
        self.open -= 1

    def _attach(self, kind: str, program: str, function: Any, *rest: Any) -> None:
        self.order.append("attach")
        self.attached.append((program, function, *rest))
        number = self.refuses.get(program)
        if number:
            raise LibbpfError(f"cannot attach {kind} to {function}", number)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kernel]:
    """One with frame pointers, on which ip_rcv can be traced in every way."""
    for name in ("KPROBE_PMU", "BLACKLIST", "FILTER_FUNCTIONS"):
        (tmp_path / name).write_text("ip_rcv\n" if name == "FILTER_FUNCTIONS" else "")
        monkeypatch.setattr(features if name == "KPROBE_PMU" else diagnose, name, tmp_path / name)
    kernel = Kernel()
    kernel.facts |= {"counts_missed": 1}
    kernel.code = COMMON + b"\x90" * 64
    monkeypatch.setattr(load, "Tree", CountedTree)
    monkeypatch.setattr(CountedTree, "mapped", 0)
    for module in (load, beside):
        monkeypatch.setattr(module, "Object", kernel.object)
        monkeypatch.setattr(module, "image", lambda: b"")
    for module in (load, beside, setting):
        monkeypatch.setattr(module, "possible_cpus", lambda: 4)
    yield kernel
    for fd in kernel.files:
        os.close(fd)


Open = Callable[..., Probe]


@pytest.fixture
def opened(kernel: Kernel) -> Open:
    """Open a probe with these options."""

    def run(target: Target = ENTRY, **options: Any) -> Probe:
        return open_probe(Selection.one(target), SYMBOLS, ProbeOptions(**options))

    return run


@pytest.mark.parametrize(
    ("target", "method", "attach", "way"),
    [
        (ENTRY, None, "auto", "fentry"),
        (ENTRY, Method.MANUAL, "kprobe", "kprobe"),
        (ENTRY, Method.HELPER, "auto", "kprobe"),
        (ENTRY, Method.HELPER, "fentry", "fentry"),
        (INSIDE, None, "auto", "kprobe"),
        (INSIDE, Method.HELPER, "auto", "kprobe"),
        (INSIDE, None, "kprobe", "kprobe"),
        (RETURN, None, "auto", "fexit"),
        (RETURN, Method.HELPER, "auto", "kretprobe"),
        (RETURN, None, "kprobe", "kretprobe"),
        (RETURN, None, "fentry", "fexit"),
    ],
)
def test_way_to_attach_is_chosen_by_place_method_and_option(
    opened: Open, kernel: Kernel, target: Target, method: Method | None, attach: str, way: str
) -> None:
    found = opened(target, method=method, attach=attach)
    assert found.attach == way
    assert found.notes == []
    assert found.by_kprobe == (way in ("kprobe", "kretprobe"))
    hot = "_hot" if found.loaded.hot else ""
    assert bool(hot) == (target == ENTRY and method != Method.HELPER)
    expected: tuple[Any, ...] = (f"kw_{way}{hot}", "ip_rcv")
    if found.by_kprobe:
        expected = (f"kw_kprobe{hot}", "ip_rcv", target.offset, target.returns)
    assert kernel.attached == [expected]
    (config,) = kernel.config
    assert config["fentry"] == (not found.by_kprobe)
    assert (config["func"], config["place"]) == (target.traced, target.place)


def test_fentry_inside_a_function_is_a_mistake_of_the_users(opened: Open, kernel: Kernel) -> None:
    with pytest.raises(UsageError) as caught:
        opened(INSIDE, attach="fentry")
    assert caught.value.exit_code == 2
    assert caught.value.what == "fentry cannot attach inside a function, where ip_rcv+0x20 is"
    assert "by kprobe" in caught.value.hint
    assert kernel.attached == []
    assert kernel.open == 0


@pytest.mark.parametrize(("target", "way"), [(ENTRY, "fentry"), (RETURN, "fexit")])
def test_refused_way_falls_back_to_another_with_a_note(
    opened: Open, kernel: Kernel, target: Target, way: str
) -> None:
    kernel.refuses |= dict.fromkeys((f"kw_{way}", f"kw_{way}_hot"), errno.EBUSY)
    found = opened(target)
    assert found.program == ("kw_kprobe_hot" if target == ENTRY else "kw_kprobe")
    (note,) = found.notes
    assert note.startswith(f"not by {way}: cannot attach trace to ip_rcv")
    assert kernel.open == CountedTree.mapped == 1
    found.close()
    assert kernel.open == CountedTree.mapped == 0


@pytest.mark.parametrize("attach", ["auto", "fentry", "kprobe", "kprobe.multi", "fentry.multi"])
def test_ftrace_switched_off_refuses_to_attach(
    opened: Open, kernel: Kernel, attach: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(switches, "FTRACE", tmp_path / "ftrace_enabled")
    monkeypatch.setattr(switched_off, "on_ftrace", lambda selection, symbols: True)
    (tmp_path / "ftrace_enabled").write_text("0\n")
    with pytest.raises(SwitchedOff, match=r"kernel\.ftrace_enabled is 0") as caught:
        opened(attach=attach)
    assert caught.value.exit_code == 1
    assert kernel.attached == []
    assert kernel.open == 0
    opened(INSIDE).close()
    assert kernel.attached == [("kw_kprobe", "ip_rcv", 0x20, False)]


B = Target("b", 0xFFFFFFFF81000200, "")
MANY = Selection("ip_rcv, b", (ENTRY, B))
MULTI = Kallsyms(
    b"ffffffff81000000 T _stext\nffffffff81000050 T bpf_tracing_multi_attach\n"
    b"ffffffff81000058 T bpf_trampoline_multi_attach\nffffffff81000060 T register_fprobe_ips\n"
    b"ffffffff81000100 T ip_rcv\nffffffff81000200 T b\n"
)


class Btf:
    """The kernel's, with some functions."""

    def __init__(self, **functions: int) -> None:
        self.functions = functions

    def __enter__(self) -> Btf:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def function(self, name: str) -> int:
        return self.functions.get(name, 0)

    def why_no_trampoline(self, _number: int) -> str:
        return ""


def test_kernel_that_knows_trampoline_links_but_cannot_make_any_lacks_them() -> None:
    """On arm64, Linux 7.2 (no CONFIG_HAVE_SINGLE_FTRACE_DIRECT_OPS)."""
    symbols = Kallsyms(b"ffffffff81000050 T bpf_tracing_multi_attach\n")
    assert attach_multi.lacks_multi("fentry.multi", symbols)
    assert attach_multi.lacks_multi("fexit.multi", symbols)
    assert not attach_multi.lacks_multi("fentry.multi", MULTI)


@pytest.mark.parametrize("attach", ["fentry", "fentry.multi"])
@pytest.mark.parametrize("returns", [False, True])
def test_many_functions_are_attached_to_by_one_link_of_trampolines(
    kernel: Kernel, attach: str, returns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach_multi, "KernelBtf", lambda: Btf(ip_rcv=7, b=9))
    both = tuple(target._replace(returns=returns) for target in MANY.targets)
    found = open_probe(MANY._replace(targets=both), MULTI, ProbeOptions(attach=attach))
    way, kind = ("fexit", 60) if returns else ("fentry", 59)
    addresses = [target.traced for target in both]
    assert kernel.attached == [(f"kw_{way}_multi", kind, [7, 9], addresses)]
    assert f"kw_{way}_multi is {kind}" in kernel.order
    assert found.attach == f"{way}.multi"
    assert (found.notes, found.beside, found.by_kprobe) == ([], None, False)
    (config,) = kernel.config
    assert (config["many"], config["fentry"], config["special"], config["func"]) == (1, 1, 0, 0)
    found.close()
    assert kernel.open == CountedTree.mapped == 0


def test_functions_without_a_trampoline_are_attached_to_by_kprobes_beside(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach_multi, "KernelBtf", lambda: Btf(ip_rcv=7))
    found = open_probe(MANY, MULTI, ProbeOptions(attach="fentry"))
    assert kernel.attached == [
        ("kw_fentry_multi", 59, [7], [ENTRY.address]),
        ("kw_multi_beside", [B.address], False),
    ]
    assert (found.attach, found.refused, found.functions) == ("fentry.multi", [], 2)
    assert found.notes == [
        "1 function of these by kprobe.multi: b (the kernel's BTF does not have it)"
    ]
    first, second = kernel.config
    changed = {name: value for name, value in second.items() if first[name] != value}
    assert changed == {"fentry": 0, "special": 1, "first_part": 4}
    assert kernel.open == 2
    found.close()
    assert kernel.open == 0


@pytest.mark.parametrize("returns", [False, True])
def test_functions_without_a_trampoline_are_skipped_where_no_kprobe_takes_them(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, returns: bool
) -> None:
    """A return's kprobe begins at the caller, which the stacks of fexit.multi do not."""
    text = MULTI._text if returns else MULTI._text.replace(b"register_fprobe_ips", b"other")
    monkeypatch.setattr(attach_multi, "KernelBtf", lambda: Btf(ip_rcv=7))
    both = tuple(target._replace(returns=returns) for target in MANY.targets)
    found = open_probe(MANY._replace(targets=both), Kallsyms(text), ProbeOptions(attach="fentry"))
    assert (found.functions, found.beside) == (1, None)
    assert selection_notes(found) == [
        f"skipped 1 function that {found.attach} does not take (the kernel's BTF does not have it):"
        " b"
    ]


def test_cost_and_misses_are_those_of_the_program_and_of_the_one_beside_it(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach_multi, "KernelBtf", lambda: Btf(ip_rcv=7))
    misses = {"kw_fentry_multi": {"recursion": 4}, "kw_multi_beside": {"recursion": 1}}

    def missed(_obj: object, program: str, link: bool) -> dict[str, int]:
        return misses[program] | ({"kprobe_missed": 7} if link else {})

    infos = {b"kw_fentry_multi": (500, 2), b"kw_multi_beside": (90, 3)}
    monkeypatch.setattr(stats, "of_program", infos.__getitem__)
    found = open_probe(MANY, MULTI, ProbeOptions(attach="fentry"))
    assert found.beside
    for obj in (found.obj, found.beside.obj):
        monkeypatch.setattr(obj, "program_info", str.encode, raising=False)
    assert found.spent() == (590, 5)
    monkeypatch.setattr("kwalk.probe.probe.kernel_misses", missed)
    assert found.misses(links=True) == {"recursion": 5, "kprobe_missed": 7}
    assert found.misses(links=False) == {"recursion": 5}
    assert call_ns(found) == CALL_NS["kprobe.multi"]


def test_many_functions_are_attached_to_by_kprobes_unless_the_user_says_otherwise(
    kernel: Kernel,
) -> None:
    """A function that trampolines themselves call can panic the kernel; ftrace guards kprobes."""
    found = open_probe(MANY, MULTI, ProbeOptions())
    assert (found.attach, found.notes) == ("kprobe.multi", [])
    assert kernel.attached == [("kw_multi", [ENTRY.address, B.address], False)]


@pytest.mark.parametrize("attach", ["auto", "fentry", "fentry.multi"])
def test_function_that_trampolines_call_is_not_traced_by_one(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, attach: str
) -> None:
    monkeypatch.setattr(attach_multi, "KernelBtf", lambda: Btf(ip_rcv=7, rcu_read_unlock_special=8))
    target = Target("rcu_read_unlock_special", 0xFFFFFFFF81000300, "")
    text = MULTI._text + b"ffffffff81000300 T rcu_read_unlock_special\n"
    if attach == "fentry.multi":
        found = open_probe(
            Selection("x", (ENTRY, target)), Kallsyms(text), ProbeOptions(attach=attach)
        )
        assert found.attach == "fentry.multi"
        assert kernel.attached == [
            ("kw_fentry_multi", 59, [7], [ENTRY.address]),
            ("kw_multi_beside", [target.address], False),
        ]
        return
    one = Selection.one(target)
    if attach == "fentry":
        with pytest.raises(KwalkError, match="trampolines themselves call it"):
            open_probe(one, Kallsyms(text), ProbeOptions(attach=attach))
        assert kernel.attached == []
    else:
        assert open_probe(one, Kallsyms(text), ProbeOptions()).attach == "kprobe"


def test_kprobes_that_fail_beside_trampolines_leave_nothing_behind(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attach_multi, "KernelBtf", lambda: Btf(ip_rcv=7))
    kernel.refuses["kw_multi_beside"] = errno.EPERM
    with pytest.raises(KwalkError, match="Operation not permitted"):
        open_probe(MANY, MULTI, ProbeOptions(attach="fentry.multi"))
    assert kernel.open == CountedTree.mapped == 0
    kernel.refuses["kw_multi_beside"] = errno.EINVAL  # of the function: it alone is left out
    found = open_probe(MANY, MULTI, ProbeOptions(attach="fentry.multi"))
    assert (found.functions, [skip.target for skip in found.refused]) == (1, [B])
    assert found.notes == []


@pytest.mark.parametrize("method", [Method.HELPER, Method.BOTH])
def test_helper_takes_no_trampolines_of_many_functions(kernel: Kernel, method: Method) -> None:
    with pytest.raises(UsageError, match=r"fentry\.multi is for the manual method"):
        open_probe(MANY, MULTI, ProbeOptions(method, "fentry.multi"))
    assert open_probe(MANY, MULTI, ProbeOptions(method)).attach == "kprobe.multi"


def test_kernel_without_links_of_trampolines_is_told(kernel: Kernel) -> None:
    with pytest.raises(KwalkError, match=r"this kernel has no fentry\.multi"):
        open_probe(MANY, SYMBOLS, ProbeOptions(attach="fentry.multi"))
    with pytest.raises(UsageError, match="fentry attaches to one function, and ip_rcv, b is 2"):
        open_probe(MANY, SYMBOLS, ProbeOptions(attach="fentry"))
    assert kernel.open == 0


def test_kernel_without_trampolines_is_told(kernel: Kernel) -> None:
    """On arm64, Linux 6.1: errno 524, which has no name in user space."""
    kernel.refuses["kw_fentry_hot"] = 524
    with pytest.raises(KwalkError, match=r"this kernel has no fentry \(CONFIG_DYNAMIC_FTRACE_"):
        open_probe(Selection.one(ENTRY), SYMBOLS, ProbeOptions(attach="fentry"))
    (note,) = open_probe(Selection.one(ENTRY), SYMBOLS, ProbeOptions()).notes
    assert note.startswith("not by fentry: this kernel has no fentry (CONFIG_DYNAMIC_FTRACE_")
    able = Kallsyms(b"ffffffff81000050 T register_ftrace_direct\nffffffff81000100 T ip_rcv\n")
    with pytest.raises(KwalkError, match="errno 524"):
        open_probe(Selection.one(ENTRY), able, ProbeOptions(attach="fentry"))


def test_disarmed_kprobes_are_replaced_by_another_way(opened: Open, kernel: Kernel) -> None:
    kernel.facts["disarmed"] = 1
    found = opened(method=Method.HELPER)
    assert found.attach == "fentry"
    (note,) = found.notes
    assert note.startswith("not by kprobe: kprobes are switched off")
    with pytest.raises(SwitchedOff, match=r"cannot be traced by kprobe: kprobes are") as caught:
        opened(attach="kprobe")
    assert "echo 1 > /sys/kernel/debug/kprobes/enabled" in caught.value.hint
    assert kernel.attached == [("kw_fentry", "ip_rcv")]
    assert kernel.open == 1


def test_alias_is_not_called_notrace_for_another_name_of_it_in_the_list(
    kernel: Kernel, tmp_path: Path
) -> None:
    """available_filter_functions has one name of each function."""
    kernel.refuses = dict.fromkeys(("kw_fentry_hot", "kw_kprobe_hot"), errno.EINVAL)
    twins = Kallsyms(b"ffffffff81000100 T __do_ip_rcv\nffffffff81000100 T ip_rcv\n")
    (tmp_path / "FILTER_FUNCTIONS").write_text("__do_ip_rcv\n")
    for symbols, is_notrace in ((SYMBOLS, True), (twins, False)):
        with pytest.raises(KwalkError) as caught:
            open_probe(Selection.one(ENTRY), symbols, ProbeOptions())
        assert ("notrace" in caught.value.what) == is_notrace


def test_refusal_of_every_way_leaves_nothing_open(opened: Open, kernel: Kernel) -> None:
    kernel.refuses |= {"kw_fexit": errno.EBUSY, "kw_kprobe": errno.EBUSY}
    with pytest.raises(KwalkError) as caught:
        opened(RETURN)
    assert caught.value.what.startswith("r:ip_rcv cannot be traced by fexit: ")
    assert "; by kretprobe: " in caught.value.what
    assert kernel.open == CountedTree.mapped == 0


def test_offset_inside_an_instruction_is_a_usage_error(opened: Open, kernel: Kernel) -> None:
    kernel.refuses["kw_kprobe"] = errno.EILSEQ
    with pytest.raises(UsageError, match=r"ip_rcv\+0x20 cannot[^\n]*no instruction begins there"):
        opened(INSIDE)


def test_kernel_that_cannot_be_walked_gets_the_helper(opened: Open, kernel: Kernel) -> None:
    kernel.facts["unwinder"] = Unwinder.NONE
    found = opened()
    assert found.method == Method.HELPER
    assert found.notes == [
        "using the helper, since this kernel has neither ORC tables nor frame pointers"
    ]
    assert kernel.open == 1


def test_verify_without_a_walk_is_a_note(opened: Open, kernel: Kernel) -> None:
    assert opened(verify=1).notes == []
    assert opened(method=Method.BOTH, verify=1).notes == []
    assert opened(method=Method.HELPER).notes == []
    (note,) = opened(method=Method.HELPER, verify=1).notes
    assert note.startswith("nothing to verify: ")
    kernel.facts["unwinder"] = Unwinder.NONE
    assert [found.split()[0] for found in opened(verify=100).notes] == ["using", "nothing"]


def test_control_is_written_before_attaching(opened: Open, kernel: Kernel) -> None:
    found = opened(INSIDE)
    assert found.control == {"start": Start.FRAME, "stack_size": here().stack_size}
    assert kernel.control == [CONTROL.unpack(CONTROL.pack(found.control))]
    assert kernel.order == [CONTROL_SECTION, "nodes_used", "attach"]


@pytest.mark.parametrize("target", [ENTRY, INSIDE, RETURN], ids=lambda target: target.place.name)
def test_tree_has_its_roots_before_attaching(
    opened: Open, kernel: Kernel, monkeypatch: pytest.MonkeyPatch, target: Target
) -> None:
    planted: list[int] = []

    def plant(tree: Tree, function: int) -> None:
        planted.append(function)
        Tree.plant(tree, function)

    monkeypatch.setattr(CountedTree, "plant", plant)
    monkeypatch.setattr(
        Kernel, "_attach", lambda self, *what: self.order.append(f"attach {len(planted)}")
    )
    found = opened(target)
    assert planted == [target.traced]
    assert kernel.order[-1] == "attach 1"
    for cpu in range(4):
        root = found.tree.node((1 + cpu) * PER_CPU * NODE_BYTES)
        assert (root.ip, root.kind) == (target.traced, NodeKind.ROOT)
    assert found.tree.hits() == 0


@pytest.mark.parametrize(
    ("nodes", "size"), [(1, 128), (24, 128), (25, 256), (1 << 17, 1 << 18), (1 << 23, 1 << 24)]
)
def test_tree_is_sized_for_the_nodes_option(
    opened: Open, kernel: Kernel, nodes: int, size: int
) -> None:
    # 4 CPUs of 3 levels: 104 nodes come ahead of all frames.
    found = opened(nodes=nodes)
    assert kernel.sizes["tree"] == {"value_size": size * 64}
    assert kernel.sizes["buckets"] == {"value_size": size * 4}
    (config,) = kernel.config
    assert (config["nodes"], config["node_mask"]) == (nodes + 104, (size - 1) * 64)
    assert "weights" not in kernel.sizes
    assert found.config.items() <= config.items()
    found.close()


def test_sampling_sizes_a_weight_per_node(opened: Open, kernel: Kernel) -> None:
    opened(nodes=25, chance=1.0).close()
    assert kernel.sizes["weights"] == {"value_size": 256 * 8}


@pytest.mark.parametrize(
    ("output", "method", "ring", "stacks", "counted"),
    [
        (Output.COUNT, None, PAGE, (1, 1), 2),
        (Output.COUNT, Method.HELPER, PAGE, (500, 1), 1000),
        (Output.EVENT, None, 1 << 20, (1, 1), 1),
        (Output.EVENT, Method.HELPER, 1 << 20, (500, 500), 1),
        (Output.BRIEF, Method.BOTH, 1 << 20, (500, 500), 1),
    ],
)
def test_maps_that_are_not_used_take_no_memory(
    opened: Open,
    kernel: Kernel,
    output: Output,
    method: Method | None,
    ring: int,
    stacks: tuple[int, int],
    counted: int,
) -> None:
    opened(output=output, method=method, ring_bytes=1 << 20, stack_entries=500, depth=20)
    assert kernel.sizes["events"] == {"max_entries": ring}
    for name, entries in zip(("stacks_a", "stacks_b"), stacks, strict=True):
        assert kernel.sizes[name] == {"max_entries": entries, "value_size": 8 * 20}
    assert kernel.sizes["counted"] == {"max_entries": counted}
    # Only what tells the time is told what digits look like.
    told = [(DIGITS_SECTION, setting.digits())] if output == Output.EVENT else []
    assert kernel.tables == told


@pytest.mark.parametrize("target", [ENTRY, INSIDE, RETURN], ids=lambda target: target.place.name)
def test_unknown_prologue_is_noted_for_places_inside_only(
    opened: Open, kernel: Kernel, target: Target
) -> None:
    kernel.code = b"\x48" * 64
    notes = opened(target).notes
    assert [("ip_rcv" in note, "fallback" in note) for note in notes] == (
        [(True, True)] if target is INSIDE else []
    )
