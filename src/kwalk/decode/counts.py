# SPDX-License-Identifier: MIT
"""Stacks with their counts, from the tree or from the helper's maps."""

from __future__ import annotations

from collections import Counter

from kwalk.decode.contexts import Contexts
from kwalk.decode.names import process_name
from kwalk.decode.stacks import StackTable
from kwalk.probe.probe import Probe
from kwalk.profile import Count, Process, Stack
from kwalk.transport.abi import COUNT, COUNTED, Method
from kwalk.transport.counters import possible_cpus
from kwalk.transport.stackmaps import StackMaps

_Key = tuple[Stack, Process | None]


class StackCounts:
    """Reads the counts of a program that counts.

    Nodes of several CPUs, and several of one process that changed its name, are added up.
    """

    def __init__(
        self, probe: Probe, contexts: Contexts, table: StackTable, maps: StackMaps
    ) -> None:
        self._probe = probe
        self._contexts = contexts
        self._table = table
        self._maps = maps
        self._names: dict[int, Process] = {}

    def read(self) -> tuple[list[Count], dict[str, int]]:
        """Return the stacks, the rarest first, and the events without one, by cause."""
        sums: Counter[_Key] = Counter()
        lost: Counter[str] = Counter()
        if self._probe.method == Method.HELPER:
            self._from_maps(sums, lost)
        else:
            self._from_tree(sums, lost)
        counts = [Count(stack, number, process) for (stack, process), number in sums.items()]
        counts.sort(key=lambda count: count.count)
        return counts, dict(lost)

    def _from_tree(self, sums: Counter[_Key], lost: Counter[str]) -> None:
        for offset, node in self._probe.tree.counted():
            for number, cut in ((node.ended, False), (node.cut, True)):
                if not number:
                    continue
                context = self._contexts.context(offset, cut)
                if context.stack is None:
                    lost["no_entry_frame"] += number
                else:
                    sums[context.stack, self._named(context.process)] += number

    def _named(self, process: Process | None) -> Process | None:
        return process and self._names.setdefault(process.tgid, process)

    def _from_maps(self, sums: Counter[_Key], lost: Counter[str]) -> None:
        counted, cpus = self._probe.obj.map("counted"), possible_cpus()
        stacks: dict[tuple[int, int], Stack | str] = {}
        for key in counted.each_key(COUNTED.size):
            stack_id, node, tgid, _ = COUNTED.struct.unpack(key)
            rows = list(COUNT.struct.iter_unpack(counted.lookup(key, cpus * COUNT.size) or b""))
            number = sum(row[0] for row in rows)
            if (stack_id, node) not in stacks:
                stacks[stack_id, node] = self._stack(stack_id, node)
            stack = stacks[stack_id, node]
            if isinstance(stack, str):
                lost[stack] += number
                continue
            comm = next((row[1] for row in rows if any(row[1])), b"")
            process = None
            if self._probe.config["per_process"]:
                process = self._named(Process(tgid, process_name(comm)))
            sums[stack, process] += number

    def _stack(self, stack_id: int, node: int) -> Stack | str:
        raw = self._maps.stack(0, stack_id)
        if raw is None:
            return "stack_gone"
        follows = self._contexts.caller(node)
        return self._table.unwound(raw, follows=follows) or "no_entry_frame"
