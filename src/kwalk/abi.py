# SPDX-License-Identifier: MIT
"""Structs and constants shared with the BPF programs: the mirror of ``bpf/kwalk.h``.

A test compares every field's name, offset and size with the object's BTF.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping

MAX_FRAMES = 127
CONFIG_SECTION = ".rodata.config"
DIGITS_SECTION = ".rodata.digits"
CONTROL_SECTION = ".data.control"
# These sections exist only with a filter that uses them.
GATES_SECTION = ".bss.gates"
PROCESSES_SECTION = ".bss.processes"
THREADS_SECTION = ".bss.threads"
PLACES_SECTION = ".bss.places"
# Exists in levels above 0 only.
ACTIVES_SECTION = ".bss.actives"
GATES = 8192
TASKS = 1 << 22


class Method(enum.IntFlag):
    """``enum kw_method``: way to get the stack, by the helper bpf_get_stackid() or kwalk's walk."""

    HELPER = 1
    MANUAL = 2
    BOTH = 3


class Unwinder(enum.IntEnum):
    """``enum kw_unwinder``: the kernel's own unwinder (CONFIG_UNWINDER_*)."""

    NONE = 0
    FRAME_POINTER = 1
    ORC = 2


class Place(enum.IntEnum):
    """``enum kw_place``: position of the probe in the function."""

    ENTRY = 0
    INSIDE = 1
    RETURN = 2
    TRACEPOINT = 3
    SAMPLE = 4

    @property
    def is_event(self) -> bool:
        """Whether the probe is an event (tracepoint or sample), not in a function of the user's."""
        return self >= Place.TRACEPOINT


class Start(enum.IntEnum):
    """``enum kw_start``: progress of the function's prologue at a kprobe inside a function."""

    UNKNOWN = 0
    BARE = 1
    PUSHED = 2
    FRAME = 3


class Output(enum.IntEnum):
    """``enum kw_output``: output of a stack, as a count in the tree or a record in the ring."""

    COUNT = 0
    EVENT = 1
    BRIEF = 2
    NUMBERED = 3


class NodeKind(enum.IntEnum):
    """``enum kw_kind``: kind of a node in the calling-context tree."""

    NONE = 0
    PLAIN = 1
    BP = 2
    DEREF = 3
    STEP = 4
    END = 5
    USER = 6
    LAST = 7
    CUT = 8
    STALE = 9
    ROOT = 10
    KERNEL = 11
    GROUP = 12
    FUNCTION = 13
    ALIGNED = 14


class Source(enum.IntEnum):
    """``enum kw_source``: origin of a node's unwind rule; decides how long the rule holds."""

    IMAGE = 0
    MODULE = 1
    BPF = 2
    ONCE = 3


class Per(enum.IntEnum):
    """``enum kw_per``: second key to aggregate by, besides the stack."""

    NOTHING = 0
    PID = 1
    COMM = 2
    CPU = 3
    CGROUP = 4
    NUMBER = 5


class Filtered(enum.IntFlag):
    """``KW_FILTER_*``: filters of hits; a hit must pass every one that is set."""

    CPU = 1 << 0
    PROCESS = 1 << 1
    THREAD = 1 << 2
    COMM = 1 << 3
    NETNS = 1 << 4
    CGROUP = 1 << 5


FILTER_VALUES = 4  # KW_FILTER_VALUES

TRUNCATED = 1 << 0
FALLBACK = 1 << 1
SECOND_MAP = 1 << 2
NO_ID = 1 << 3
DIFFERS = 1 << 4
STACKED = 1 << 6
JUMPED = 1 << 7


class Layout:
    """Layout of a C struct.

    :param name: The struct's name in ``kwalk.h``.
    :param fields: Members in order, separated by spaces: ``name:code``, with a code of the module
        ``struct``.
    """

    def __init__(self, name: str, fields: str) -> None:
        self.name = name
        pairs = [field.split(":") for field in fields.split()]
        self.fields = [pair[0] for pair in pairs]
        self.codes = [pair[1] for pair in pairs]
        self.struct = struct.Struct("<" + "".join(self.codes))
        self.size = self.struct.size

    def pack(self, values: Mapping[str, int | bytes]) -> bytes:
        """Return the struct's bytes; missing members are zero."""
        blank: dict[str, int | bytes] = {
            name: b"" if code.endswith("s") else 0
            for name, code in zip(self.fields, self.codes, strict=True)
        }
        unknown = set(values) - set(blank)
        if unknown:
            raise KeyError(f"struct {self.name} has no {', '.join(sorted(unknown))}")
        return self.struct.pack(*(blank | dict(values)).values())

    def offset(self, name: str) -> int:
        """Return where a member is, in bytes."""
        return struct.calcsize("<" + "".join(self.codes[: self.fields.index(name)]))

    def unpack(self, data: bytes) -> dict[str, int]:
        """Return the members by name; ``char[]`` members are bytes."""
        return dict(zip(self.fields, self.struct.unpack_from(data), strict=True))


CONFIG = Layout(
    "kw_config",
    "func:Q text_start:Q text_end:Q init_start:Q init_end:Q image_end:Q orc_ip:Q orc:Q"
    " orc_lookup:Q rethook:Q graph_return:Q hook_first:Q hook_span:Q mod_tree:Q bpf_tree:Q"
    " ftrace_ops_list:Q ftrace_list_end:Q ftrace_caller:Q ftrace_regs_caller:Q"
    " entry_start:Q entry_end:Q nmi_start:Q nmi_end:Q"
    " switch_asm_start:Q switch_asm_end:Q switch_start:Q switch_end:Q"
    " insn_slots:Q optinsn_slots:Q comm:64s pidns:Q code_mask:Q midnight_ns:Q"
    " orc_lookups:I orc_entries:I method:I fentry:I place:I typed_loads:I max_frames:I verify:I"
    " self_check:I kernel_frames:I stack_padding:I output:I per:I sampled:I"
    " filter:I comms:I netnses:I cgroups:I cgroup_level:16s"
    " many:I special:I slow:I nodes:I node_mask:I pidns_level:I first_part:I reserved:I",
)
PLACES = Layout("kw_places", "cgroup:32s netns:16s")
GATE = Layout("kw_gate", "filtered:Q closed:Q reserved:48s")
CONTROL = Layout(
    "kw_control",
    "active_map:I orc_reg_sp:I orc_reg_prev_sp:I orc_last:I distrust:I start:I stack_size:I"
    " saved:I",
)
NODE = Layout(
    "kw_node",
    "ip:Q hint:I other:I delta:I rule:I parent:I next:I count:Q cut:Q sequence:I bp_at:i"
    " kind:B source:B depth:B flags:B group:I",
)
HAS_REGS = 1 << 0  # KW_NODE_HAS_REGS
HOT = Layout(
    "kw_hot",
    "resume:Q missed:Q unassisted:Q returns:Q arguments:I shift:I context:Q reserved:16s",
)
LEVELS = 3  # KW_LEVELS
HOT_PROGRAM, HOT_ENTRY = 0, 1  # KW_HOT_PROGRAM, KW_HOT_ENTRY
HOT_LEAVES = 1024  # KW_HOT_LEAVES
HOT_MISS = 1  # KW_HOT_MISS
WEIGHT_ONE = 256  # KW_WEIGHT_ONE
NO_ADDRESS = 0x6B77616C6B000000  # KW_NO_ADDRESS
EVENT = Layout(
    "kw_event",
    "stack_id:i other:I node:I flags:H cpu:H tgid:I pid:I comm:16s clock:16s time_ns:Q",
)
BRIEF_BYTES = 16  # KW_BRIEF_BYTES
# The fentry call, endbr and padding lie within this many bytes of the function's start.
ENTRY_BYTES = 16  # KW_ENTRY_BYTES
SHORT = Layout("kw_short", "key:I reserved:I clock:16s time_ns:Q")
KEY = Layout("kw_key", "key:I node:I tgid:I pid:I comm:16s")
DIFFERENCE = Layout("kw_difference", "mark:I node:I other:I reserved:20s")
KEYS = 4096  # KW_KEYS
SLOTS = 1024  # KW_SLOTS
SHORT_FLAGS = TRUNCATED | FALLBACK  # KW_SHORT_FLAGS


class Mark(enum.IntFlag):
    """``KW_MARK_*``: kinds of records beside hits (``struct kw_short``)."""

    ANEW = 1 << 29
    KEY = 1 << 30
    DIFFERENCE = 1 << 31


DIGITS = 1024  # KW_DIGITS
COUNTED = Layout("kw_counted", "stack_id:i node:I group:16s")
COUNT = Layout("kw_count", "count:Q weight:Q comm:16s")
COUNTERS = Layout(
    "kw_counters",
    "lost_ring_full:Q lost_ring_busy:Q lost_eexist:Q lost_enomem:Q lost_efault:Q lost_ebusy:Q"
    " lost_other:Q lost_map_full:Q lost_user_mode:Q taken_ns:Q pool_full:Q"
    " checked:Q mismatches:Q missing_caller:Q wrong_start:Q stacked_hooks:Q nested_nmi:Q"
    " task_switch:Q stack_switch:Q overwritten:Q",
)
CALLS = Layout("kw_calls", "page:Q from:I nr:I size:I first:I")
CALLS_BYTES = 65536  # KW_CALLS_BYTES
CODE = Layout("kw_code", "address:Q size:I reserved:I")
HERE = Layout("kw_here", "pidns:Q pidns_level:I cgroup_level:I")
ACTIVE = Layout("kw_active", "active:Q id:I reserved:I")
TASK = Layout("kw_task", "number:I pid:I tgid:I reserved:I")
NO_NUMBER = 0xFFFFFF  # KW_NO_NUMBER
NUMBERLESS = 0x800000  # KW_NUMBERLESS
NUMBERLESS_NAME = 1 << 63  # KW_NUMBERLESS_NAME
FACTS = Layout(
    "kw_facts",
    "orc_fp_entry:Q orc_null_entry:Q orc_header:Q kprobes_disarmed:Q"
    " fp_entry:Q null_entry:Q header:20s unwinder:I"
    " counts_missed:I stack_pages:I disarmed:Q window:I task_stack:I"
    " regs_record:I last_record:I record_types:I reserved:I",
)
