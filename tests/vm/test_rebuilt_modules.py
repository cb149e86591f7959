# SPDX-License-Identifier: MIT
"""Modules that are unloaded, rebuilt and loaded again: every frame has the name of its code."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import call, only_on, start
from workloads import rebuilt
from workloads.rebuilt import CALLS, Builder

from kwalk.kernel import modules

pytestmark = only_on("debian-12", "")
LONG = (pytest.mark.long, pytest.mark.timeout(3000))
Names = tuple[str, ...]
GO = ("--", "sh", "-c", "echo 1 >/sys/module/kwt/parameters/kwt_go")
CALLERS = ("kwt_mid [kwt]", "kwt_outer [kwt]", "kwt_go [kwt]", "param_attr_store")


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    tree = rebuilt.kernel_headers()
    if tree is None:
        pytest.skip("no headers of debian-12 are in the cache: run `kwalk lab headers debian-12`")
    return Builder(tree, tmp_path_factory.mktemp("modules"))


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    for name in ("kwt", "kwold", "kwnew"):
        if Path("/sys/module", name).exists():
            rebuilt.remove(name)


def names(frames: list[dict[str, Any]]) -> Names:
    """Return the names of a stack's frames with their modules."""
    return tuple(f"{f['name']} [{f['module']}]" if f["module"] else f["name"] for f in frames)


def counted(*words: str) -> tuple[Counter[Names], dict[str, Any]]:
    """Count; return the number of hits by stack, and the summary."""
    code, out, err = call("kwalk", "count", "--format", "json", *words)
    assert code == 0, err
    data = json.loads(out.splitlines()[-1])
    stacks: Counter[Names] = Counter()
    for stack in data["stacks"]:
        stacks[names(stack["frames"])] += stack["count"]
    return stacks, data


def check_round(builder: Builder, seed: int) -> None:
    """Load one build and trace it by name, by pattern, and through its frames."""
    functions = rebuilt.shuffled(seed)
    rebuilt.insert(builder.build("kwt", functions, "kwt_outer"))
    stacks, data = counted("kwt:kwt_target", *GO)
    assert [(stack[:5], number) for stack, number in stacks.items()] == [
        (("kwt_target [kwt]", *CALLERS), CALLS)
    ]
    stacks, data = counted("kwt:kwt_*", *GO)
    assert not any("skipped" in note for note in data["notes"]), data
    calls: Counter[str] = Counter()
    for stack, number in stacks.items():
        calls[stack[0]] += number
        if stack[0] == "kwt_pad_0 [kwt]":
            assert stack[1:5] == CALLERS
    each = ("kwt_target [kwt]", "kwt_mid [kwt]", "kwt_outer [kwt]", "kwt_pad_0 [kwt]")
    assert calls == {**dict.fromkeys(each, CALLS), "kwt_go [kwt]": 1}
    stacks, data = counted("int_sqrt", "--from-caller", "^kwt_target$", *GO)
    assert [(stack[:6], number) for stack, number in stacks.items()] == [
        (("int_sqrt", "kwt_target [kwt]", *CALLERS), CALLS)
    ]
    rebuilt.remove("kwt")


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=LONG)])
def test_rebuilt_module_has_the_names_of_its_own_functions(builder: Builder, rounds: int) -> None:
    seen: Counter[tuple[object, ...]] = Counter()
    for seed in range(rounds):
        check_round(builder, seed)
        rebuilt.insert(builder.build("kwt", rebuilt.shuffled(seed), "kwt_outer"))
        (own,) = (module for module in modules.read() if module.name == "kwt")
        seen[own.name, own.start, own.size, own.state] += 1
        rebuilt.remove("kwt")
    # /proc/modules shows the same for different builds.
    assert seen.most_common(1)[0][1] > 1


def alike(prefix: str) -> list[str]:
    """Return functions of a module with the same layout as the others, but other names."""
    return [
        f"noinline int {prefix}_inner(int x) {{ sink += int_sqrt(x); return sink; }}",
        f"noinline int {prefix}_outer(int x) {{ {prefix}_inner(x); return sink++; }}",
    ]


@pytest.mark.parametrize("command", ["count", "stream"])
def test_two_modules_at_one_address_within_one_trace_keep_their_names(
    builder: Builder, command: str, tmp_path: Path
) -> None:
    rebuilt.insert(builder.build("kwold", alike("kwold"), "kwold_outer"))
    new = builder.build("kwnew", alike("kwnew"), "kwnew_outer")
    script = tmp_path / "script"
    script.write_text(
        "cat /sys/module/kwold/sections/.text >$2\n"
        "echo 1 >/sys/module/kwold/parameters/kwold_go\n"
        "rmmod kwold && insmod $1 || exit 1\n"
        "cat /sys/module/kwnew/sections/.text >>$2\n"
        "echo 1 >/sys/module/kwnew/parameters/kwnew_go\n"
        "echo 1 >/sys/module/kwnew/parameters/kwnew_go\n"
    )
    words = ("sh", str(script), str(new), str(tmp_path / "places"))
    if command == "count":
        stacks, _ = counted("int_sqrt", "--from-caller", "^kw(old|new)_", "--", *words)
    else:
        code, out, err = call("kwalk", "stream", "int_sqrt", "--format", "json", "--", *words)
        assert code == 0, err
        stacks = Counter(
            names(event["frames"])
            for event in map(json.loads, out.splitlines())
            if "frames" in event and "param_attr_store" in names(event["frames"])
        )
    assert len(set((tmp_path / "places").read_text().split())) == 1
    found: Counter[Names] = Counter()
    for stack, number in stacks.items():
        found[stack[1:4]] += number
    assert found == {
        tuple(f"{name}_{function} [{name}]" for function in ("inner", "outer", "go")): calls
        for name, calls in (("kwold", CALLS), ("kwnew", 2 * CALLS))
    }


def test_module_loaded_over_another_after_the_start_is_named(
    builder: Builder,
) -> None:
    old = builder.build("kwold", alike("kwold"), "kwold_outer")
    new = builder.build("kwnew", alike("kwnew"), "kwnew_outer")
    rebuilt.insert(old)
    process = start("kwalk", "count", "int_sqrt", "--format", "json", "--method", "helper")
    assert process.stderr
    while "Ctrl-C" not in process.stderr.readline():
        pass
    rebuilt.remove("kwold")
    rebuilt.insert(new)
    rebuilt.go("kwnew")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    data = json.loads(out.splitlines()[-1])
    found = [names(stack["frames"]) for stack in data["stacks"]]
    own = tuple(f"kwnew_{function} [kwnew]" for function in ("inner", "outer", "go"))
    assert any(stack[1:4] == own for stack in found), found
    assert not any("[kwold]" in name for stack in found for name in stack)
    assert any("first [kwold], then [kwnew]" in note for note in data["notes"])


def test_each_name_of_a_function_heads_the_stacks_that_it_was_asked_for() -> None:
    code, out, _ = call("kwalk", "functions", "*_sys_getpid", "--format", "json")
    assert code == 0
    functions = [json.loads(line) for line in out.splitlines()]
    aliases = {name for f in functions for name in (f["name"], *f["aliases"])}
    twins = {"__ia32_sys_getpid", "__x64_sys_getpid"}
    assert twins <= aliases
    getpid = ("--", "sh", "-c", "sh -c :; sh -c :")  # each reads the module's number at its start
    for name in sorted(twins):
        stacks, data = counted(name, *getpid)
        assert data["attach"] == "fentry", data
        assert stacks
        assert {stack[0] for stack in stacks} == {name}


def test_callers_are_found_by_each_of_their_names() -> None:
    words = ("--", "sh", "-c", ":")  # it reads the module's number at its start
    for name in ("__x64_sys_getpid", "__ia32_sys_getpid"):
        through = ("--from-caller", f"^{name}$", "--until", name)
        stacks, data = counted("__task_pid_nr_ns", *through, *words)
        assert stacks, data
        assert {len(stack) for stack in stacks} == {2}, (name, stacks)
