# SPDX-License-Identifier: MIT
"""Input of a generated program for hot stacks, for any architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from kwalk.abi import NodeKind, Unwinder
from kwalk.insn import Assembler


class Unsupported(Exception):
    """A stack that generated programs cannot follow; the text says why."""


class HotFrame:
    """A frame of hot stacks in its context, as a tree: ``struct kw_node`` without counts.

    :ivar ip: Return address; of FUNC itself 0.
    :ivar rule: Its rule (``kw_node.rule``), by unwind tables.
    :ivar delta: Bytes from its slot to the slot of the next return address, where that is constant.
    :ivar interrupted: The processor interrupted this frame; it was not left by a call.
    :ivar leaf: Number of the stack that ends here, or None.
    :ivar weight: Hits of all stacks through it.
    :ivar callers: Its callers, the most frequent first.
    """

    __slots__ = ("callers", "delta", "interrupted", "ip", "kind", "leaf", "rule", "weight")

    def __init__(
        self,
        ip: int = 0,
        rule: int = 0,
        kind: NodeKind = NodeKind.ROOT,
        delta: int = 0,
        interrupted: bool = False,
    ) -> None:
        self.ip, self.rule, self.kind, self.delta = ip, rule, kind, delta
        self.interrupted = interrupted
        self.leaf: int | None = None
        self.weight = 0
        self.callers: list[HotFrame] = []

    def all(self) -> Iterator[HotFrame]:
        """Yield this frame and all that follow it outwards."""
        waiting = [self]
        while waiting:
            frame = waiting.pop()
            yield frame
            waiting += frame.callers


class HotStart(NamedTuple):
    """How a probe's hits begin.

    :ivar fentry: By fentry: the context is the trampoline's array of arguments. Otherwise it is a
        ``struct pt_regs`` at FUNC's first instruction.
    :ivar arguments: Words in that array (``kw_hot.arguments``).
    :ivar shift: Words between it and the saved frame pointer (``kw_hot.shift``).
    :ivar returns: Return address into FUNC; 0 if FUNC jumped to the trampoline.
    :ivar func: Address of FUNC.
    """

    fentry: bool
    arguments: int = 0
    shift: int = 0
    returns: int = 0
    func: int = 0


class HotKernel(NamedTuple):
    """Facts about the kernel that generated programs need.

    :ivar unwinder: Which rules stacks are walked by.
    :ivar cast: BTF id of ``bpf_rdonly_cast()``; 0 if memory is read by
        ``bpf_probe_read_kernel()``.
    :ivar window: BTF id of a type as large as a stack, as which its words are loaded.
    :ivar task_stack: Offset of ``stack`` in ``struct task_struct``.
    :ivar stack_size: Bytes of a task's stack.
    :ivar padding: Bytes between a task's user registers and its stack's end.
    :ivar static_frame: Whether the function that holds an address keeps its frame at a constant
        distance from its frame pointer (frame pointers only).
    :ivar interrupt_stack: BTF ids of the kernel's variables by which words of a CPU's interrupt
        stack are loaded directly (``Architecture.interrupt_stack``); empty to load them like all
        others.
    :ivar code_mask: Bits of a return address in which a signature may stand, all set in code
        (``kw_config.code_mask``).
    :ivar regs_record: Offset of the frame record in ``struct pt_regs``, where it has one.
    :ivar last_record: Bytes from a task's last frame record to its stack's end, likewise.
    :ivar record_types: Such records are zeros, with a type behind.
    """

    unwinder: Unwinder
    cast: int
    window: int
    task_stack: int
    stack_size: int
    padding: int
    static_frame: Callable[[int], bool]
    interrupt_stack: tuple[int, ...] = ()
    code_mask: int = 0
    regs_record: int = 0
    last_record: int = 0
    record_types: bool = False


class HotTarget(NamedTuple):
    """Where generated code is to go.

    :ivar asm: Gets the instructions. R8 has the context, R6, R7 and R9 are free.
    :ivar accept: Emits what a hit of a known stack does, by the number of the stack; control does
        not come back.
    :ivar miss: Label for hits of other stacks.
    :ivar context: Emits instructions that set a register to the context as a number, for programs
        that read by ``bpf_probe_read_kernel()``.
    """

    asm: Assembler
    accept: Callable[[int], None]
    miss: str
    context: Callable[[], None]
