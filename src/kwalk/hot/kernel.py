# SPDX-License-Identifier: MIT
"""Facts about the kernel that generated programs need."""

from __future__ import annotations

from kwalk.arch import here
from kwalk.arch.hot_frame import HotKernel
from kwalk.hot.code import StaticFrames
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import program as programs
from kwalk.libbpf.btf import variable_ids
from kwalk.probe.probe import Probe


def of_probe(probe: Probe, symbols: Kallsyms) -> HotKernel:
    """Return the facts for a probe with an entry program."""
    config, facts = probe.config, probe.loaded.facts
    entry = probe.obj.program_instructions(probe.program)
    return HotKernel(
        probe.unwinder,
        programs.kfunc_id(entry) if config["typed_loads"] else 0,
        facts.window,
        facts.task_stack,
        probe.control["stack_size"],
        config["stack_padding"],
        StaticFrames(probe.obj, symbols),
        () if config["typed_loads"] else variable_ids(here().interrupt_stack),
        config["code_mask"],
        facts.regs_record,
        facts.last_record,
        facts.record_types,
    )
