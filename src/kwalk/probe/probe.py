# SPDX-License-Identifier: MIT
"""Probe: the BPF program that is attached to a selection."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from kwalk.abi import Method, Unwinder
from kwalk.arch import here
from kwalk.libbpf import stats
from kwalk.libbpf.object import Object
from kwalk.probe.attach import HOT_PROGRAMS, KPROBES, PROGRAMS
from kwalk.probe.attach_multi import TRACING_MULTI
from kwalk.probe.beside import KprobesBeside
from kwalk.probe.load import Loaded
from kwalk.probe.nested import NestedPrograms
from kwalk.probe.selection import Selection, Skipped, names_of, reasons_of
from kwalk.support.text import plural
from kwalk.transport.context_tree import Tree
from kwalk.transport.counters import kernel_misses


class Probe(NamedTuple):
    """A loaded and attached program.

    :ivar attach: The way in use, one of ``attach.PROGRAMS``.
    :ivar refused: Places that the kernel did not let us attach to.
    :ivar notes: Sentences for the user, such as why not by the requested method or way.
    :ivar began: Start of attaching, in seconds of CLOCK_MONOTONIC. With many kprobes the first
        ones count hits from here on.
    :ivar attached: End of attaching, likewise.
    :ivar nested: Takes hits that the program is refused; None where that is impossible.
    :ivar beside: Takes hits of functions that the way does not take; None if there are none.
    """

    loaded: Loaded
    selection: Selection
    method: Method
    attach: str
    refused: list[Skipped]
    notes: list[str]
    began: float
    attached: float
    nested: NestedPrograms | None = None
    beside: KprobesBeside | None = None

    @property
    def obj(self) -> Object:
        """The loaded BPF object."""
        return self.loaded.obj

    @property
    def tree(self) -> Tree:
        """The calling-context tree."""
        return self.loaded.tree

    def hits(self) -> int:
        """Return the hits so far: runs of the program, filtered ones included."""
        return self.tree.hits() + self.filtered()

    def filtered(self) -> int:
        """Return the hits so far that a filter refused."""
        return self.loaded.gates.filtered()

    @property
    def config(self) -> dict[str, int]:
        """Members of ``struct kw_config``, except the filters' values."""
        return self.loaded.config

    @property
    def control(self) -> dict[str, int]:
        """Members of ``struct kw_control`` as written at load; empty for the helper."""
        return self.loaded.control

    @property
    def unwinder(self) -> Unwinder:
        """The kernel's own unwinder."""
        return self.loaded.facts.unwinder

    @property
    def kernel_lacks_caller(self) -> bool:
        """Whether the kernel's own stacks lack FUNC's direct caller.

        It is not in a frame record before FUNC's prologue.
        """
        if self.unwinder != Unwinder.FRAME_POINTER:
            return False
        return self.by_kprobe or here().trampolines_lack_caller

    @property
    def counts_missed(self) -> bool:
        """Whether this kernel counts the misses of kprobes."""
        return self.loaded.facts.counts_missed

    def uncounted(self) -> str:
        """Return which missed hits this kernel does not count, as a sentence; "" if it counts all.

        A program at a kprobe, tracepoint or sample does not run while another of these does
        (``bpf_prog_active``: kernel/trace/bpf_trace.c, bpf_overflow_handler() in
        kernel/events/core.c).
        """
        if self.attach == "perf_event":
            return "the kernel does not count samples that it drops while a BPF program runs"
        if self.counts_missed or not (self.by_kprobe or self.attach == "tracepoint"):
            return ""
        what = "kprobes" if self.by_kprobe else "tracepoints"
        return f"this kernel does not count the misses of {what}"

    @property
    def program(self) -> str:
        """Name of the program in the object."""
        return (HOT_PROGRAMS if self.loaded.hot else PROGRAMS)[self.attach]

    @property
    def by_kprobe(self) -> bool:
        """Whether the program gets ``pt_regs``: at kprobes, kretprobes, and .multi ones."""
        return self.attach in KPROBES

    @property
    def many(self) -> bool:
        """Whether the program serves several functions: each stack begins with its own."""
        return bool(self.config["many"])

    @property
    def functions(self) -> int:
        """Number of places attached to."""
        return len(self.selection.targets) - len(self.refused)

    def spent(self) -> tuple[int, int]:
        """Return run time in nanoseconds and runs, as the kernel's BPF statistics have them."""
        each = [stats.of_program(obj.program_info(name)) for obj, name in self._programs]
        return sum(spent for spent, _ in each), sum(runs for _, runs in each)

    def misses(self, links: bool) -> dict[str, int]:
        """Return the hits that never reached a program, by cause (``counters.kernel_misses``).

        :param links: Read the links of kprobes as well, which must still be attached.
        """
        found: Counter[str] = Counter({"recursion": 0})
        for obj, name in self._programs:
            by_kprobe = self.by_kprobe or obj is not self.obj
            found.update(kernel_misses(obj, name, links and by_kprobe))
        return dict(found)

    def detach(self) -> None:
        """Detach every program."""
        for obj, _ in self._programs:
            obj.detach()
        if self.nested:
            self.nested.detach()

    @property
    def _programs(self) -> list[tuple[Object, str]]:
        """The programs of level 0 and beside it, with their objects."""
        beside = [(self.beside.obj, self.beside.program)] if self.beside else []
        return [(self.obj, self.program), *beside]

    def close(self) -> None:
        """Detach and free everything."""
        if self.nested:
            self.nested.close()
        if self.beside:
            self.beside.obj.close()
        self.loaded.close()


def selection_notes(probe: Probe) -> list[str]:
    """Return a note for each reason why functions of the selection are not traced."""
    notes = []
    refused = "the kernel did not let us attach to"
    if probe.refused and probe.attach in TRACING_MULTI:
        refused = f"{probe.attach} does not take ({reasons_of(probe.refused)})"
    for skipped, what in (
        (probe.selection.skipped, "cannot be traced (`kwalk functions` says why)"),
        (probe.refused, refused),
    ):
        if skipped:
            told = f"skipped {plural(len(skipped), 'function')} that {what}"
            notes.append(f"{told}: {names_of(skipped)}")
    return notes
