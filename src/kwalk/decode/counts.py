# SPDX-License-Identifier: MIT
"""Counts by stack and group, from the tree or from the helper's maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from kwalk.abi import COUNT, COUNTED, WEIGHT_ONE, Method, Per
from kwalk.decode.contexts import Contexts
from kwalk.decode.groups import Groups, is_numberless
from kwalk.decode.stacks import StackTable
from kwalk.model.builder import ProfileBuilder
from kwalk.model.stack import Count, Group, Stack
from kwalk.probe.probe import Probe
from kwalk.transport.context_tree import NODE_BYTES
from kwalk.transport.counters import possible_cpus
from kwalk.transport.stack_maps import StackMaps


def share_out(left_alone: int, counts: Sequence[Count]) -> Sequence[Count]:
    """Rescale the estimates so that they add up to the exact number of skipped hits.

    By chance they add up to a little more or less; their ratios are more exact than their sum.
    Recorded hits are certain, and stay as they are.

    :param left_alone: Number of skipped hits.
    """
    beyond = sum(count.calls - count.count for count in counts)
    factor = left_alone / beyond if beyond else 1.0
    return [
        replace(count, scaled=count.count + (count.calls - count.count) * factor)
        for count in counts
    ]


class StackCounts:
    """Reads the counts of a program with ``Output.COUNT``.

    Nodes of several CPUs are added up, and nodes of a process that changed its name.
    """

    def __init__(
        self,
        probe: Probe,
        contexts: Contexts,
        table: StackTable,
        maps: StackMaps,
        groups: Groups,
    ) -> None:
        self._probe = probe
        self._contexts = contexts
        self._table = table
        self._maps = maps
        self._groups = groups
        self._names: dict[int, Group] = {}

    def read(self) -> tuple[Sequence[Count], dict[str, int]]:
        """Return the counts, the rarest first, and the hits without a stack, by cause."""
        builder = ProfileBuilder()
        lost: Counter[str] = Counter()
        self._groups.begin()
        if self._probe.method == Method.HELPER:
            self._from_maps(builder, lost)
        else:
            self._from_tree(builder, lost)
        return builder.build()[0], dict(lost)

    def _from_tree(self, builder: ProfileBuilder, lost: Counter[str]) -> None:
        sampled = self._probe.config["sampled"]
        found = self._probe.tree.counted()
        weights = self._probe.tree.weights() if sampled else ()
        for offset, node in found:
            weight = weights[offset // NODE_BYTES] if sampled else 0
            for number, cut in ((node.ended, False), (node.cut, True)):
                if not number:
                    continue
                context = self._contexts.context(offset, cut)
                if context.stack is None:
                    lost["no_entry_frame"] += number
                    continue
                share = weight * number // (node.ended + node.cut)
                scaled = share / WEIGHT_ONE if sampled else None
                builder.count(context.stack, self._named(context.group), number, scaled)

    def _named(self, group: Group | None) -> Group | None:
        """Return the group with the first name that its process had."""
        if group is None or group.kind != "pid" or group.number is None:
            return group
        return self._names.setdefault(group.number, group)

    def _from_maps(self, builder: ProfileBuilder, lost: Counter[str]) -> None:
        sampled = self._probe.config["sampled"]
        counted, cpus = self._probe.obj.map("counted"), possible_cpus()
        stacks: dict[tuple[int, int], Stack | str] = {}
        for key in counted.each_key(COUNTED.size):
            stack_id, node, value = COUNTED.struct.unpack(key)
            rows = list(COUNT.struct.iter_unpack(counted.lookup(key, cpus * COUNT.size) or b""))
            number = sum(row[0] for row in rows)
            if (stack_id, node) not in stacks:
                stacks[stack_id, node] = self._stack(stack_id, node)
            stack = stacks[stack_id, node]
            if isinstance(stack, str):
                lost[stack] += number
                continue
            comm = next((row[2] for row in rows if any(row[2])), b"")
            first = int.from_bytes(value[:8], "little")
            named = self._groups.per == Per.PID and not is_numberless(value)
            group = self._groups.group(first, comm if named else value)
            scaled = sum(row[1] for row in rows) / WEIGHT_ONE if sampled else None
            builder.count(stack, self._named(group), number, scaled)

    def _stack(self, stack_id: int, node: int) -> Stack | str:
        raw = self._maps.stack(0, stack_id)
        if raw is None:
            return "stack_gone"
        follows, function = self._contexts.caller(node), self._contexts.function(node)
        stack = self._table.unwound(raw, follows=follows, function=function)
        return stack or "no_entry_frame"
