# SPDX-License-Identifier: MIT
"""Nodes of the calling-context tree to stacks."""

from __future__ import annotations

from typing import NamedTuple

from kwalk.abi import NO_ADDRESS, NodeKind
from kwalk.decode.groups import Groups
from kwalk.decode.stacks import StackTable
from kwalk.model.stack import Group, Stack
from kwalk.transport.context_tree import Tree

_CALLER_UNKNOWN = 1
_NOT_JUMPED = 1 << 63
_FUNCTIONS = (NodeKind.ROOT, NodeKind.FUNCTION)


class Context(NamedTuple):
    """Stack and group of a node; no ``stack`` if the kernel's stack lacks FUNC."""

    stack: Stack | None
    group: Group | None = None


class Contexts:
    """Reads the stacks of a tree's nodes, each once."""

    def __init__(self, tree: Tree, table: StackTable, groups: Groups) -> None:
        self._tree = tree
        self._groups = groups
        self._table = table
        self._known: dict[tuple[int, bool], Context] = {}

    def context(self, offset: int, cut: bool = False) -> Context:
        """Return the stack and group of the node at ``offset``.

        :param cut: The stack goes on beyond the node.
        """
        key = offset, cut
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._read(offset, cut)
        return known

    def stack(self, offset: int, cut: bool = False) -> Stack | None:
        """Return the stack that ends at the node at ``offset``."""
        return self.context(offset, cut).stack

    def _read(self, offset: int, cut: bool) -> Context:
        node = self._tree.node(offset)
        group = None
        if node.kind == NodeKind.GROUP:
            group = self._groups.group(node.ip ^ NO_ADDRESS, node.value)
            offset, node = node.parent, self._tree.node(node.parent)
        if node.kind == NodeKind.CUT:
            cut = True
            offset, node = node.parent, self._tree.node(node.parent)
        root, path = self._path(offset)
        if not self._tree.is_kernels(root):
            return Context(self._table.walked(path, cut, self._codes(offset)), group)
        # The root, then the caller's mark, then the kernel's own words: kw_add_kernels().
        mark, words = path[1] if len(path) > 1 else _CALLER_UNKNOWN, path[2:]
        caller = 0 if mark == _CALLER_UNKNOWN else mark | _NOT_JUMPED
        follows = caller if caller and not mark & _NOT_JUMPED else 0
        stack = self._table.unwound(words, caller, follows, cut, path[0])
        if stack is None and cut:  # the tree had no room for as much as the function
            stack = self._table.cut_off(path[0])
        return Context(stack, group)

    def _path(self, offset: int) -> tuple[int, list[int]]:
        """Return the root's offset, and the addresses from the function to a node."""
        node = self._tree.node(offset)
        path = [node.ip]
        while node.kind not in _FUNCTIONS and offset:  # node 0 is nobody's: nothing is above it
            offset, node = node.parent, self._tree.node(node.parent)
            path.append(node.ip)
        return (node.parent if node.kind == NodeKind.FUNCTION else offset), path[::-1]

    def _codes(self, offset: int) -> list[int]:
        """Return the codes of the frames from the function to a node; empty where all are 0."""
        node = self._tree.node(offset)
        codes = [node.code]
        while node.kind not in _FUNCTIONS and offset:
            offset, node = node.parent, self._tree.node(node.parent)
            codes.append(node.code)
        return codes[::-1] if any(codes) else []

    def whole(self, offset: int) -> Stack:
        """Return the kernel's whole stack at a node, with the tracer's own frames."""
        return Stack(tuple(self._path(offset)[1][2:]))

    def function(self, offset: int) -> int:
        """Return the address of a node's traced function, where several are traced; else 0."""
        node = self._tree.node(offset)
        while node.kind not in _FUNCTIONS and offset:
            offset, node = node.parent, self._tree.node(node.parent)
        return node.ip if node.kind == NodeKind.FUNCTION else 0

    def caller(self, offset: int) -> int:
        """Return the address that FUNC returns to, for any node; 0 if it is not known."""
        path = self._path(offset)[1] if offset else []
        return path[1] | _NOT_JUMPED if len(path) > 1 and path[1] != _CALLER_UNKNOWN else 0
