# SPDX-License-Identifier: MIT
"""Objects loaded beside a probe's own, whose programs share its tree and count into it.

Values that a nested run would spoil in the middle of another are an object's own: per-CPU counters,
which programs change by a load and a store, and buffers. The tree is shared: each object has
parts of its own there (its level), and what levels share is changed by atomic operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kwalk.abi import (
    ACTIVES_SECTION,
    CONFIG,
    CONFIG_SECTION,
    CONTROL_SECTION,
    DIGITS_SECTION,
    GATES_SECTION,
)
from kwalk.libbpf import LibbpfError
from kwalk.libbpf.object import Object
from kwalk.probe.attach_multi import OF_FUNCTION, Watch, attach_kprobe_multi
from kwalk.probe.load import Loaded, image, sends_keys
from kwalk.probe.selection import Skipped
from kwalk.probe.target import Target
from kwalk.transport.counters import possible_cpus

SHARED = (
    *("tree", "buckets", "nodes_used", "weights", "events", "stacks_a", "stacks_b", "counted"),
    *(CONTROL_SECTION, DIGITS_SECTION),
)
"""Maps of level 0 that the others use.

Their own are ``scratch``, ``counters``, ``keys`` and the gates.
"""
_UNUSED = ("hot", "leaves", "barrier")


def load_beside(
    base: Loaded,
    level: int,
    choose: Callable[[Object], None],
    config: Mapping[str, int],
    unused: Sequence[str] = (),
) -> Object:
    """Load an object for a level above 0.

    :param base: Level 0.
    :param choose: Called to choose the programs to load.
    :param config: Members of ``struct kw_config`` that differ from level 0's.
    :param unused: Maps that its programs do not use.
    :raises LibbpfError: if the kernel refuses it.
    """
    obj = Object(image())
    try:
        choose(obj)
        known = CONFIG.unpack(base.obj.map(CONFIG_SECTION).lookup(bytes(4), CONFIG.size) or b"")
        own = {"first_part": level * possible_cpus(), **config}
        obj.map(CONFIG_SECTION).set_initial_value(CONFIG.pack({**known, **own}))
        for name, used in {**dict.fromkeys(SHARED, True), **base.sections}.items():
            if not used:
                obj.map(name).set_autocreate(False)
            elif name == GATES_SECTION:
                obj.map(name).set_mmapable()
            else:
                obj.map(name).reuse(base.obj.map(name))
        if not sends_keys(base.config):
            obj.map("keys").resize(max_entries=1)
        for name in (*_UNUSED, *unused):
            obj.map(name).set_autocreate(False)
        obj.load()
    except BaseException:
        obj.close()
        raise
    return obj


class KprobesBeside:
    """Functions of a probe by fentry.multi that have no trampoline, attached to by kprobe.multi.

    Its program can run while level 0 does, and has a level of its own, 1.

    :param base: Level 0, by fentry.multi.
    :raises LibbpfError: if the kernel refuses it.
    """

    program = "kw_multi_beside"

    def __init__(self, base: Loaded) -> None:
        def choose(obj: Object) -> None:
            obj.set_autoload({self.program: None})

        self.obj = load_beside(base, 1, choose, {"fentry": 0, "special": 1}, (ACTIVES_SECTION,))
        try:
            if base.sections.get(GATES_SECTION):
                base.gates.add(self.obj.map(GATES_SECTION))
        except BaseException:
            self.obj.close()
            raise

    def attach(self, targets: Sequence[Target], watch: Watch) -> list[Skipped]:
        """Attach to functions; return the functions that the kernel refuses, maybe all."""
        try:
            return attach_kprobe_multi(self.obj, self.program, targets, watch)
        except LibbpfError as error:
            if error.errno not in OF_FUNCTION:
                raise
            return [Skipped(target, error.what) for target in targets]
