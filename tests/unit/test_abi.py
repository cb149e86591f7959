# SPDX-License-Identifier: MIT
"""kwalk.abi is what the BPF object and bpf/kwalk.h say it is."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kwalk import abi
from kwalk.probe import attach, config, ftrace_sites, load, translate
from kwalk.transport import context_tree

LAYOUTS = [value for value in vars(abi).values() if isinstance(value, abi.Layout)]
MAPS = {
    *("events", "counters", "tree", "buckets", "nodes_used", "counted"),
    *("stacks_a", "stacks_b", "barrier", "barrier_inner", "weights"),
    "calls",
}
CONSTANTS = {
    "KW_CPUS": abi.GATES,
    "KW_TASKS": abi.TASKS,
    "KW_MAX_FRAMES": abi.MAX_FRAMES,
    "KW_HELPER": abi.Method.HELPER,
    "KW_MANUAL": abi.Method.MANUAL,
    "KW_BOTH": abi.Method.BOTH,
    "KW_UNWIND_NONE": abi.Unwinder.NONE,
    "KW_UNWIND_FP": abi.Unwinder.FRAME_POINTER,
    "KW_UNWIND_ORC": abi.Unwinder.ORC,
    "KW_PLACE_ENTRY": abi.Place.ENTRY,
    "KW_PLACE_INSIDE": abi.Place.INSIDE,
    "KW_PLACE_RETURN": abi.Place.RETURN,
    "KW_PLACE_TRACEPOINT": abi.Place.TRACEPOINT,
    "KW_PLACE_SAMPLE": abi.Place.SAMPLE,
    "KW_START_UNKNOWN": abi.Start.UNKNOWN,
    "KW_START_BARE": abi.Start.BARE,
    "KW_START_PUSHED": abi.Start.PUSHED,
    "KW_START_FRAME": abi.Start.FRAME,
    "KW_OUTPUT_COUNT": abi.Output.COUNT,
    "KW_OUTPUT_EVENT": abi.Output.EVENT,
    "KW_OUTPUT_BRIEF": abi.Output.BRIEF,
    "KW_OUTPUT_NUMBERED": abi.Output.NUMBERED,
    "KW_NODE_NONE": abi.NodeKind.NONE,
    "KW_NODE_PLAIN": abi.NodeKind.PLAIN,
    "KW_NODE_BP": abi.NodeKind.BP,
    "KW_NODE_DEREF": abi.NodeKind.DEREF,
    "KW_NODE_STEP": abi.NodeKind.STEP,
    "KW_NODE_END": abi.NodeKind.END,
    "KW_NODE_USER": abi.NodeKind.USER,
    "KW_NODE_LAST": abi.NodeKind.LAST,
    "KW_NODE_CUT": abi.NodeKind.CUT,
    "KW_NODE_STALE": abi.NodeKind.STALE,
    "KW_NODE_ROOT": abi.NodeKind.ROOT,
    "KW_NODE_KERNEL": abi.NodeKind.KERNEL,
    "KW_NODE_GROUP": abi.NodeKind.GROUP,
    "KW_SOURCE_IMAGE": abi.Source.IMAGE,
    "KW_SOURCE_MODULE": abi.Source.MODULE,
    "KW_SOURCE_BPF": abi.Source.BPF,
    "KW_SOURCE_ONCE": abi.Source.ONCE,
    "KW_PER_NOTHING": abi.Per.NOTHING,
    "KW_PER_PID": abi.Per.PID,
    "KW_PER_COMM": abi.Per.COMM,
    "KW_PER_CPU": abi.Per.CPU,
    "KW_PER_CGROUP": abi.Per.CGROUP,
    "KW_PER_NUMBER": abi.Per.NUMBER,
    "KW_NO_NUMBER": abi.NO_NUMBER,
    "KW_NUMBERLESS": abi.NUMBERLESS,
    "KW_NUMBERLESS_NAME": abi.NUMBERLESS_NAME,
    "KW_NODE_FUNCTION": abi.NodeKind.FUNCTION,
    "KW_NODE_ALIGNED": abi.NodeKind.ALIGNED,
    "KW_FILTER_CPU": abi.Filtered.CPU,
    "KW_FILTER_PROCESS": abi.Filtered.PROCESS,
    "KW_FILTER_THREAD": abi.Filtered.THREAD,
    "KW_FILTER_COMM": abi.Filtered.COMM,
    "KW_FILTER_NETNS": abi.Filtered.NETNS,
    "KW_FILTER_CGROUP": abi.Filtered.CGROUP,
    "KW_FILTER_VALUES": abi.FILTER_VALUES,
    "KW_CALLS_BYTES": abi.CALLS_BYTES,
    "KW_HOT_PROGRAM": abi.HOT_PROGRAM,
    "KW_HOT_ENTRY": abi.HOT_ENTRY,
    "KW_HOT_SLOTS": abi.HOT_ENTRY + 1,
    "KW_HOT_LEAVES": abi.HOT_LEAVES,
    "KW_HOT_MISS": abi.HOT_MISS,
    "KW_NODE_BYTES": context_tree.NODE_BYTES,
    "KW_CPU_BYTES": context_tree.PER_CPU * context_tree.NODE_BYTES,
    "KW_NO_ADDRESS": abi.NO_ADDRESS,
    "KW_WEIGHT_ONE": abi.WEIGHT_ONE,
    "KW_BRIEF_BYTES": abi.BRIEF_BYTES,
    "KW_DIGITS": abi.DIGITS,
    "KW_ENTRY_BYTES": abi.ENTRY_BYTES,
    "KW_EV_TRUNCATED": abi.TRUNCATED,
    "KW_EV_FALLBACK": abi.FALLBACK,
    "KW_EV_MAP": abi.SECOND_MAP,
    "KW_EV_NO_ID": abi.NO_ID,
    "KW_EV_DIFFERS": abi.DIFFERS,
    "KW_EV_STACKED": abi.STACKED,
    "KW_EV_JUMPED": abi.JUMPED,
    "KW_SHORT_FLAGS": abi.SHORT_FLAGS,
    "KW_SLOTS": abi.SLOTS,
    "KW_KEYS": abi.KEYS,
    "KW_MARK_KEY": abi.Mark.KEY,
    "KW_MARK_ANEW": abi.Mark.ANEW,
    "KW_MARK_DIFFERENCE": abi.Mark.DIFFERENCE,
}


# Clang leaves a struct out of the object's BTF that is reached through plain pointers only.
ONLY_IN_THE_HEADER = {
    *("kw_node", "kw_event", "kw_calls", "kw_code", "kw_here", "kw_hot", "kw_task"),
    *("kw_short", "kw_key", "kw_difference"),
    "kw_active",
}

Member = tuple[str, int, str]


class Btf:
    """An object's types, by id."""

    def __init__(self, path: Path) -> None:
        tool = shutil.which("bpftool", path="/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin")
        assert tool, "`make venv` installs bpftool"
        dump = [tool, "-j", "btf", "dump", "file", str(path), "format", "raw"]
        output = subprocess.run(dump, capture_output=True, check=True).stdout
        self.types = {entry["id"]: entry for entry in json.loads(output)["types"]}

    def named(self, kind: str, name: str) -> dict[str, Any]:
        found = [t for t in self.types.values() if (t["kind"], t["name"]) == (kind, name)]
        assert len(found) == 1, f"{kind} {name}: {len(found)} in the object's BTF"
        entry: dict[str, Any] = found[0]
        return entry

    def bare(self, number: int) -> dict[str, Any]:
        entry: dict[str, Any] = self.types[number]
        while entry["kind"] in ("TYPEDEF", "CONST", "VOLATILE"):
            entry = self.types[entry["type_id"]]
        return entry

    def code(self, number: int) -> str:
        """The type as a code of Python's struct module."""
        entry = self.bare(number)
        if entry["kind"] == "ARRAY":
            return f"{entry['nr_elems'] * self.bare(entry['type_id'])['size']}s"
        assert entry["kind"] == "INT", entry
        signed = entry["encoding"] == "SIGNED"
        return {1: "Bb", 2: "Hh", 4: "Ii", 8: "Qq"}[entry["size"]][signed]

    def members(self, entry: dict[str, Any], start: int = 0, alternative: int = 0) -> list[Member]:
        """Name, offset and code of each; of an unnamed union those of one alternative."""
        found: list[Member] = []
        inner = entry["members"]
        if entry["kind"] == "UNION":
            inner = inner[alternative : alternative + 1]
        for member in inner:
            at = start + member["bits_offset"] // 8
            if member["name"] == "(anon)":
                found += self.members(self.bare(member["type_id"]), at, alternative)
            else:
                found.append((member["name"], at, self.code(member["type_id"])))
        return found


@pytest.fixture(scope="module")
def header(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Btf:
    """What clang makes of kwalk.h's structs."""
    path = tmp_path_factory.mktemp("header") / "header.o"
    source = (
        '#include "kwalk.h"\nstruct kw_node node;\nstruct kw_event event;\nstruct kw_calls calls;\n'
        "struct kw_here here;\nstruct kw_task task;\nstruct kw_hot hot;\nstruct kw_code code;\n"
        "struct kw_short hit;\nstruct kw_key key;\nstruct kw_difference difference;\n"
        "struct kw_active active;\n"
    )
    command = ["clang", "-target", "bpf", "-g", "-I", str(root / "bpf")]
    command += ["-x", "c", "-", "-c", "-o", str(path)]
    subprocess.run(command, input=source, text=True, check=True)
    return Btf(path)


@pytest.fixture(scope="module")
def btf(tmp_path_factory: pytest.TempPathFactory) -> Btf:
    path = tmp_path_factory.mktemp("object") / "kwalk.bpf.o"
    path.write_bytes(load.image())
    return Btf(path)


def test_every_layout_is_compared() -> None:
    names = [layout.name for layout in LAYOUTS]
    assert sorted(names) == [
        *(
            "kw_active",
            "kw_calls",
            "kw_code",
            "kw_config",
            "kw_control",
            "kw_count",
            "kw_counted",
            "kw_counters",
            "kw_difference",
            "kw_event",
        ),
        *(
            "kw_facts",
            "kw_gate",
            "kw_here",
            "kw_hot",
            "kw_key",
            "kw_node",
            "kw_places",
        ),
        *("kw_short", "kw_task"),
    ]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_layout_has_the_members_of_the_objects_struct(
    layout: abi.Layout, btf: Btf, header: Btf
) -> None:
    types = header if layout.name in ONLY_IN_THE_HEADER else btf
    entry = types.named("STRUCT", layout.name)
    starts = [struct.calcsize("<" + "".join(layout.codes[:n])) for n in range(len(layout.codes))]
    assert list(zip(layout.fields, starts, layout.codes, strict=True)) == types.members(entry)
    assert layout.size == entry["size"]


def test_node_union_members_stand_where_the_tree_reads_them(header: Btf) -> None:
    members = header.members(header.named("STRUCT", "kw_node"), alternative=1)
    places = {name: (at, code) for name, at, code in members}
    assert places["value"] == (context_tree._U64.size, "16s")  # behind ip
    assert places["hits"] == (places["cut"][0] + 8, "Q")
    fields = zip(
        context_tree.ContextNode._fields, context_tree._NODE.unpack(bytes(range(64))), strict=True
    )
    for name, value in fields:
        at, code = places[{"ended": "count"}.get(name, name)]
        (expected,) = struct.unpack_from("<" + code, bytes(range(64)), at)
        assert value == expected, name


def test_constants_are_those_of_the_header(root: Path, c_output: Callable[..., str]) -> None:
    header = (root / "bpf" / "kwalk.h").read_text()
    named = set(re.findall(r"^#define (KW_EV_\w+)", header, re.MULTILINE))
    named |= set(re.findall(r"^#define (KW_MARK_\w+)", header, re.MULTILINE))
    named |= {"KW_SHORT_FLAGS", "KW_KEYS", "KW_SLOTS"}
    named |= {"KW_MAX_FRAMES", "KW_ENTRY_BYTES", "KW_NODE_BYTES", "KW_CPU_BYTES"}
    named |= {"KW_NO_ADDRESS", "KW_WEIGHT_ONE", "KW_BRIEF_BYTES", "KW_DIGITS", "KW_CALLS_BYTES"}
    named |= {"KW_CPUS", "KW_TASKS", "KW_NO_NUMBER", "KW_NUMBERLESS", "KW_NUMBERLESS_NAME"}
    named |= set(re.findall(r"^#define (KW_HOT_\w+)", header, re.MULTILINE))
    named |= set(re.findall(r"^#define (KW_FILTER_\w+)", header, re.MULTILINE))
    enums = r"^enum kw_(?:method|unwinder|place|start|output|kind|source|per) \{(.*?)\};"
    for body in re.findall(enums, header, re.MULTILINE | re.DOTALL):
        named |= set(re.findall(r"^\s*(KW_\w+) =", body, re.MULTILINE))
    assert named == set(CONSTANTS)
    prints = "".join(f'printf("{name} %llu\\n", (unsigned long long){name});' for name in CONSTANTS)
    header = header.replace('"types.h"', "<linux/types.h>")
    source = f"{header}\n#include <stdio.h>\nint main(void) {{{prints}}}"
    lines = [line.split() for line in c_output(source).splitlines()]
    assert {name: int(value) for name, value in lines} == CONSTANTS


def test_programs_and_sections_of_user_space_are_in_the_object(btf: Btf) -> None:
    asking = [
        config.FACTS_PROGRAM,
        ftrace_sites.PROGRAM,
        translate.PROGRAM,
        translate.TASKS_PROGRAM,
    ]
    for program in [*attach.PROGRAMS.values(), *load.FOLLOWING, *asking]:
        btf.named("FUNC", program)
    sections = {
        abi.CONFIG_SECTION: abi.CONFIG,
        abi.CONTROL_SECTION: abi.CONTROL,
        abi.PLACES_SECTION: abi.PLACES,
    }
    for name, layout in sections.items():
        (variable,) = btf.named("DATASEC", name)["vars"]  # alone, hence at offset 0
        assert btf.bare(btf.types[variable["type_id"]]["type_id"])["name"] == layout.name
    for name in (abi.GATES_SECTION, abi.PROCESSES_SECTION, abi.THREADS_SECTION):
        assert len(btf.named("DATASEC", name)["vars"]) == 1
    maps = {btf.types[entry["type_id"]]["name"] for entry in btf.named("DATASEC", ".maps")["vars"]}
    assert maps >= MAPS


def test_pack_fills_by_name_and_refuses_what_the_struct_has_not() -> None:
    layout = abi.Layout("kw_pair", "first:I second:H name:2s")
    assert layout.pack({"second": 8, "first": 1}) == b"\1\0\0\0\x08\0\0\0"
    assert layout.pack({"name": b"ab"}) == b"\0\0\0\0\0\0ab"
    assert layout.unpack(b"\2\0\0\0\0\0ab") == {"first": 2, "second": 0, "name": b"ab"}
    with pytest.raises(KeyError, match="kw_pair has no third"):
        layout.pack({"third": 1})
