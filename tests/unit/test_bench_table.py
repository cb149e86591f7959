# SPDX-License-Identifier: MIT
"""README's table of figures, from the results of ``make bench``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from test_bench_reports import results, row

from kwalk.bench.results import Account, MethodResult, Outcome
from kwalk.report.bench.text import as_data

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import table

MINUS = "\N{MINUS SIGN}"


def data(*rows: MethodResult, mode: str = "count") -> dict[str, Any]:
    made = results(*rows, mode=mode)
    made.date = "2026-11-30"
    return as_data(made)


def lines(*rows: MethodResult) -> list[str]:
    found = {mode: {"fp": data(*rows, mode=mode)} for mode in table.MODES}
    return table.table(found).splitlines()


def test_cell_has_the_interval_of_several_rounds() -> None:
    several = row("manual", [-5.0, -5.5, -4.5], cost_ns=775)
    several.account = None
    one = row("helper", [-31.5], cost_ns=9111)
    one.account = None
    found = lines(several, one)
    assert f"| manual | {MINUS}5.0 % ({MINUS}5.5 … {MINUS}4.5) | 775 |" in found
    assert f"| helper | {MINUS}31.5 % | 9,111 |" in found


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome(20_410, 0), "9"),
        (Outcome(16_131, 0), "9 (4,279 lost silently)"),
        (Outcome(16_131, 4_279), "9 (4,279 lost)"),
        (Outcome(16_131, 279), "9 (279 lost, 4,000 lost silently)"),
        (Outcome(16_131, None), "9 (4,279 lost silently)"),
        (Outcome(None, None), "9"),
    ],
)
def test_cell_tells_admitted_losses_from_silent_ones(outcome: Outcome, text: str) -> None:
    made = row("manual", [-1.0], cost_ns=9)
    made.account = Account(20_410, 0, "fentry", outcome)
    assert f"| manual | {MINUS}1.0 % | {text} |" in lines(made)


def test_programs_of_others_are_named_with_their_versions() -> None:
    made = [row(name, [-1.0]) for name in ("bpftrace", "bpftrace@sid", "test-manual")]
    made[0].version, made[1].version = "bpftrace v0.17.0", "bpftrace v0.27.1"
    names = [line.split(" | ")[0].strip("| ") for line in lines(*made)]
    for name in ("bpftrace v0.17.0", "bpftrace v0.27.1 (sid)", "bpf_get_stack_test --manual"):
        assert name in names


def test_method_that_was_not_run_has_its_reason_below() -> None:
    found = lines(row("manual", [-1.0]), MethodResult("bcc@sid", not_run="no headers"))
    assert "| bcc@sid | \N{EN DASH} | \N{EN DASH} |" in found
    assert "Not run: bcc@sid: no headers." in found


def test_table_says_when_and_in_how_many_rounds() -> None:
    assert lines(row("manual", [-1.0]))[-1] == "Rounds: 3. Measured: 2026-11-30."


def test_table_says_which_figures_are_of_an_earlier_benchmark() -> None:
    new, old = data(row("manual", [-1.0])), data(row("manual", [-2.0]))
    old["kernel"] = "6.1.0"
    del old["date"]
    kernels = {"fp": new, "debian-12": old}
    text = table.table(dict.fromkeys(table.MODES, kernels))
    assert "Figures of 6.1.0 are older than the rules above" in text
    assert "6.12.107 are older" not in text


def test_readme_has_the_table_of_the_results() -> None:
    assert table.main(["--check"]) == 0
