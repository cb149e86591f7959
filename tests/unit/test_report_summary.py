# SPDX-License-Identifier: MIT
"""The summary accounts for every hit, and explains every cause of a loss."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kwalk
from kwalk.abi import COUNTERS
from kwalk.model.ledger import (
    NOT_WANTED,
    Difference,
    Ledger,
    NestedUse,
    Sampling,
    Summary,
    TreeUse,
    Verify,
)
from kwalk.model.stack import Stack
from kwalk.report.summary import CAUSES, as_data, as_text, exit_code, warnings
from kwalk.support.text import counted, plural
from kwalk.transport.counters import kernel_misses


def summary(ledger: Ledger, notes: list[str] | None = None) -> Summary:
    return Summary("ip_rcv", "manual", "fentry", "6.12.107", ledger, notes or [])


def strings(*nodes: ast.AST | None) -> set[str]:
    parts = [part for node in nodes if node for part in ast.walk(node)]
    return {
        part.value
        for part in parts
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value
    }


def written_causes(tree: ast.AST) -> set[str]:
    """The strings that code gives as a cause: to a ledger, to a sum, or beside no stack."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in (
            "lose",
            "drop",
            "close",
        ):
            found |= strings(*node.args)
        elif isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "lost":
            found |= strings(node.slice)
        elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
            found |= strings(node.value)
        elif isinstance(node, ast.FunctionDef) and "Stack | str" in ast.unparse(node):
            returns = [part for part in ast.walk(node) if isinstance(part, ast.Return)]
            found |= strings(*returns)
    return found - {"lost_"}


def produced_causes() -> set[str]:
    """Every name that a loss can have: counters, kernel misses, strings in the code."""
    counted = {name.removeprefix("lost_") for name in COUNTERS.fields if name.startswith("lost_")}
    obj: Any = SimpleNamespace(program_info=lambda program: b"", link_infos=list)
    missed = set(kernel_misses(obj, "kw_kprobe", link=True))
    written = set()
    folder = Path(kwalk.__file__).parent
    for path in [
        path
        for name in ("api", "cli", "decode", "engine", "model", "recording")
        for path in folder.joinpath(name).rglob("*.py")
    ]:
        written |= written_causes(ast.parse(path.read_text()))
    assert {"stack_gone", "no_entry_frame", "past_count", "output_closed"} <= written
    return counted | missed | written


def test_loss_causes_are_all_explained() -> None:
    assert produced_causes() - set(CAUSES) == set()


def test_loss_explanations_all_have_a_cause() -> None:
    assert set(CAUSES) - produced_causes() == set()


def test_text_says_hits_are_stacks_and_losses_with_their_causes() -> None:
    ledger = Ledger(
        hits=1_234_567,
        recorded=1_234_000,
        lost={"eexist": 7, "ring_full": 560},
        truncated=1000,
        fallback=2,
        uncounted=["this kernel does not count the misses of kprobes"],
    )
    assert as_text(summary(ledger, ["not by fentry"])) == (
        "ip_rcv: 1,234,567 calls = 1,234,000 stacks + 567 lost  (manual by fentry, 6.12.107)\n"
        f"  lost: 560 ring_full: {CAUSES['ring_full']}\n"
        f"  lost: 7 eexist: {CAUSES['eexist']}\n"
        "  truncated: 1,000 stacks go on below their last frame\n"
        "  fallback: 2 stacks come from the kernel's unwinder\n"
        "  not counted: this kernel does not count the misses of kprobes\n"
        "  note: not by fentry\n"
    )


def test_text_of_a_capture_that_lost_nothing_is_one_line() -> None:
    text = as_text(summary(Ledger(hits=3, recorded=3)))
    assert text == "ip_rcv: 3 calls = 3 stacks + 0 lost  (manual by fentry, 6.12.107)\n"


def test_text_does_not_guess_why_nothing_came() -> None:
    assert as_text(summary(Ledger())).count("\n") == 1


def test_program_that_the_kernel_did_not_run_is_told_and_fails() -> None:
    found = summary(Ledger(), ["a note"])
    assert exit_code(found) == 0
    assert "unseen" not in as_data(found)
    found.unseen = "ftrace is switched off"
    assert as_text(found).splitlines()[1:] == [
        "  not seen: ftrace is switched off",
        "  note: a note",
    ]
    assert as_data(found)["unseen"] == "ftrace is switched off"
    assert warnings(found) == ["ftrace is switched off", "a note"]
    assert exit_code(found) == 1


def test_budget_is_shown_with_the_cost() -> None:
    found = summary(Ledger(hits=3, recorded=3))
    found.sampling = Sampling(budget=0.02, cost=0.0134, scale=40.56)
    assert as_text(found).splitlines()[1:] == [
        "  budget: 2 %; tracing cost about 1.3 % of the CPU time used; 40.56 calls for each one "
        "recorded"
    ]


def test_text_of_a_single_call_has_no_plural() -> None:
    ledger = Ledger(hits=1, recorded=1, truncated=1, fallback=1)
    found = replace(
        summary(ledger),
        unit="samples",
        sampling=Sampling(budget=0.02, cost=0.001, scale=1.0),
        tree=TreeUse(4, 4, 1),
    )
    assert as_text(found) == (
        "ip_rcv: 1 sample = 1 stack + 0 lost  (manual by fentry, 6.12.107)\n"
        "  truncated: 1 stack goes on below its last frame\n"
        "  budget: 2 %; tracing cost about 0.1 % of the CPU time used; 1 call for each one "
        "recorded\n"
        "  tree: full, 4 of 4 nodes used; 1 stack was cut short; a larger --nodes helps\n"
        "  fallback: 1 stack comes from the kernel's unwinder\n"
    )


@pytest.mark.parametrize("difference", [5, -5])
def test_unbalanced_ledger_is_shown(difference: int) -> None:
    ledger = Ledger(hits=10 + difference, recorded=8, lost={"eexist": 2})
    text = as_text(summary(ledger))
    assert f"{10 + difference} calls = 8 stacks + 2 lost" in text
    assert f"  unexplained: {difference} (a bug of kwalk" in text


@given(
    st.integers(0, 1 << 40),
    st.lists(st.tuples(st.sampled_from(sorted(CAUSES)), st.integers(0, 1 << 30))),
)
def test_ledger_filled_by_lose_is_balanced(recorded: int, losses: list[tuple[str, int]]) -> None:
    all_ = sum(number for _, number in losses)
    unwanted = sum(number for cause, number in losses if cause in NOT_WANTED)
    ledger = Ledger(hits=recorded + all_, recorded=recorded)
    for cause, number in losses:
        ledger.lose(cause, number)
    assert ledger.balance == 0
    text = as_text(summary(ledger))
    middle = f" + {unwanted:,} not wanted" if unwanted else ""
    sums = f"{plural(recorded, 'stack')}{middle} + {all_ - unwanted:,} lost "
    assert f" {counted(recorded + all_, 'calls')} = {sums}" in text
    assert "unexplained" not in text
    shown = {cause for cause, number in losses if number}
    assert {cause for cause in CAUSES if f" {cause}: " in text} == shown


def test_data_is_json_of_a_fixed_schema() -> None:
    ledger = Ledger(hits=4, recorded=3, lost={"recursion": 1}, truncated=2, fallback=1)
    ledger.uncounted.append("something")
    told = summary(ledger, ["a note"])
    told.seconds = 2.5
    assert json.loads(json.dumps(as_data(told))) == {
        "schema": "kwalk.stream/2",
        "function": "ip_rcv",
        "method": "manual",
        "attach": "fentry",
        "kernel": "6.12.107",
        "unit": "calls",
        "seconds": 2.5,
        "per_second": 1.6,
        "ledger": {
            "hits": 4,
            "recorded": 3,
            "not_wanted": {},
            "lost": {"recursion": 1},
            "truncated": 2,
            "fallback": 1,
            "uncounted": ["something"],
            "balance": 0,
        },
        "notes": ["a note"],
    }


@pytest.mark.parametrize(
    ("hits", "seconds", "text"),
    [
        (22531, 10.02, ", 10.0 s, 2,249 calls/s)"),
        (1, 3.0, ", 3.00 s, 0.33 calls/s)"),
        (0, 3.0, ", 3.00 s)"),
        (7, 86400.0, ", 86,400.0 s, 8.1e-05 calls/s)"),
        (7, 0.0, ", 0.00 s)"),
        (3, 3.0, ", 3.00 s, 1 call/s)"),
        (7, 5e-324, ", 0.00 s)"),
    ],
)
def test_first_line_tells_seconds_and_rate(hits: int, seconds: float, text: str) -> None:
    told = summary(Ledger(hits=hits, recorded=hits))
    told.seconds = seconds
    assert f"lost  (manual by fentry, 6.12.107{text}\n" in as_text(told)
    json.dumps(as_data(told), allow_nan=False)


def test_ledger_keeps_lost_and_not_wanted_apart() -> None:
    ledger = Ledger(hits=10, recorded=5)
    ledger.lose("filtered", 3)
    ledger.lose("ring_full", 2)
    assert (ledger.not_wanted, ledger.lost) == ({"filtered": 3}, {"ring_full": 2})
    assert ledger.balance == 0
    other = ledger.copy()
    other.lose("ring_full", 1)
    other.lose("filtered", 1)
    other.uncounted.append("x")
    assert (ledger.balance, other.balance, ledger.uncounted) == (0, -2, [])


def test_data_has_what_was_compared_only_where_something_was_to_be() -> None:
    ledger = Ledger(hits=9, recorded=9)
    assert "verify" not in as_data(summary(ledger))
    compared = summary(ledger)
    compared.verify = Verify(
        every=10,
        checked=9,
        mismatches=1,
        missing_caller=2,
        kernel_wrong={"int3_start": 3},
        differences=[Difference(Stack((0xFFFFFFFF81000000, 1)), Stack((2,), fallback=True))],
    )
    data = json.loads(json.dumps(as_data(compared)))
    assert data.pop("verify") == {
        "every": 10,
        "checked": 9,
        "mismatches": 1,
        "missing_caller": 2,
        "kernel_wrong": {"int3_start": 3},
        "differences": [{"walked": ["0xffffffff81000000", "0x1"], "kernel": ["0x2"]}],
    }
    assert data == as_data(summary(ledger))


def test_text_ends_with_what_was_compared() -> None:
    compared = summary(Ledger(hits=9, recorded=9), ["a note"])
    without = as_text(compared)
    compared.verify = Verify(every=1, checked=9)
    text = as_text(compared)
    assert text.startswith(without)
    assert text.removeprefix(without).startswith("  verify: 9 stacks compared")
    assert text.endswith("\n")


@pytest.mark.parametrize(
    ("tree", "lines"),
    [
        (None, []),
        (TreeUse(0, 131_072, 0), []),
        (TreeUse(65_536, 131_072, 0), []),
        (TreeUse(65_537, 131_072, 0), ["  tree: 65,537 of 131,072 nodes used"]),
        (
            TreeUse(131_072, 131_072, 1_234),
            [
                "  tree: full, 131,072 of 131,072 nodes used; 1,234 stacks were cut short; "
                "a larger --nodes helps"
            ],
        ),
        (TreeUse(1, 1, 0), ["  tree: 1 of 1 nodes used"]),
    ],
)
def test_tree_use_is_shown_from_half_full_on(tree: TreeUse | None, lines: list[str]) -> None:
    walked = summary(Ledger(hits=3, recorded=3))
    walked.tree = tree
    assert as_text(walked).splitlines()[1:] == lines


@pytest.mark.parametrize(
    ("use", "line"),
    [
        (None, ""),
        (NestedUse(0, 1), ""),
        (NestedUse(1, 1), "1 hit was recorded that came while the program was running"),
        (NestedUse(1200, 2), "1,200 hits were recorded that came while the program was running"),
        (
            NestedUse(9, 2, 3),
            "9 hits were recorded that came while the program was running; 3 or more of them are "
            "counted twice",
        ),
        (
            NestedUse(0, 0, 0, "no room"),
            "hits that come while the program is running are lost: no room",
        ),
    ],
)
def test_nested_hits_are_shown_where_there_are_any(use: NestedUse | None, line: str) -> None:
    told = replace(summary(Ledger(hits=9, recorded=9)), nested=use)
    shown = [text for text in as_text(told).splitlines() if "nested" in text]
    assert shown == ([f"  nested: {line}"] if line else [])
    assert as_data(told).get("nested") == (use._asdict() if use else None)


def test_data_has_the_tree_where_there_was_a_walk() -> None:
    walked = summary(Ledger(hits=3, recorded=3))
    assert "tree" not in as_data(walked)
    walked.tree = TreeUse(7, 240, 1)
    data = json.loads(json.dumps(as_data(walked, "kwalk.count/2")))
    assert data["tree"] == {"used": 7, "size": 240, "full": 1}
    assert data["schema"] == "kwalk.count/2"


@pytest.mark.parametrize(
    ("ledger", "strict"),
    [
        (Ledger(hits=9, recorded=9), 0),
        (Ledger(), 0),
        (Ledger(hits=9, recorded=9, truncated=5, fallback=5, uncounted=["something"]), 0),
        (Ledger(hits=9, recorded=8, not_wanted={"past_count": 1}), 0),
        (Ledger(hits=9, recorded=7, not_wanted={"past_count": 1}, lost={"output_closed": 1}), 0),
        (Ledger(hits=9, recorded=7, not_wanted={"past_count": 1}, lost={"ring_full": 1}), 1),
        (Ledger(hits=9, recorded=8), 1),
        (Ledger(hits=9, recorded=10), 1),
    ],
)
def test_strict_fails_a_capture_that_lost_what_was_wanted(ledger: Ledger, strict: int) -> None:
    assert exit_code(summary(ledger)) == 0
    assert exit_code(summary(ledger), strict=True) == strict


@pytest.mark.parametrize("cause", sorted(CAUSES))
def test_strict_minds_every_cause_but_those_that_the_user_is(cause: str) -> None:
    ledger = Ledger(hits=9, recorded=8)
    ledger.lose(cause, 1)
    wanted = cause not in NOT_WANTED | {"output_closed"}
    assert exit_code(summary(ledger), strict=True) == wanted


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("verify", "code"),
    [(None, 0), (Verify(1, 9, 1), 1), (Verify(1, 9, 0, 9), 0), (Verify(0, 9, 1), 0)],
)
def test_exit_code_is_1_for_a_difference_under_verify(
    verify: Verify | None, code: int, strict: bool
) -> None:
    compared = summary(Ledger(hits=9, recorded=9))
    compared.verify = verify
    assert exit_code(compared, strict) == code


def test_lists_of_a_stranger_are_cut_and_their_rest_is_counted() -> None:
    causes = {f"cause{number}": number + 1 for number in range(20_000)}
    total = sum(causes.values())
    ledger = Ledger(total, 0, lost=causes, uncounted=["x"] * 3000)
    found = summary(ledger, [f"note {number}" for number in range(5000)])
    text = as_text(found)
    assert len(text.splitlines()) < 350
    assert "  lost: 20,000 cause19999: cause19999\n" in text
    left = sum(range(1, 20_000 - 100 + 1))
    assert f"  and 19,900 other causes: {left:,}\n" in text
    assert "  note: and 4,900 more notes\n" in text
    *_, last = told = warnings(found)
    assert len(told) == 102
    assert last.startswith(f"{total:,} of {total:,} calls were lost: 20,000 cause19999, ")
    assert last.endswith(" and 19,988 other causes")
    assert len(re.findall(r" cause\d", last)) == 12
