# SPDX-License-Identifier: MIT
"""What a user reads of an experiment: a table, JSON, a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

import pytest
from elements import Elements
from hypothesis import given, settings
from hypothesis import strategies as st

from kwalk.bench import statistics
from kwalk.bench.results import Account, MethodResult, Outcome, Results, Run, WorkloadRun
from kwalk.report.bench import text as bench
from kwalk.report.bench.page import as_html

WIDE = 150
LATENCY = {0.0: 0.047, 50.0: 1.103, 99.0: 7.935, 99.99: 22.559, 100.0: 23.0}
WIDTHS = pytest.mark.parametrize("width", [80, WIDE])


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """How sure the numbers are is not what is tested here."""
    monkeypatch.setattr(statistics, "RESAMPLES", 100)


def row(
    name: str, changes: Sequence[float], lost: int | None = 0, cost_ns: int | None = None
) -> MethodResult:
    runs = [
        Run(
            WorkloadRun(20000 * (1 + change / 100), 2.0, {k: 2 * ms for k, ms in LATENCY.items()}),
            change,
            1.25,
            0.048,
            Outcome(1_234_567, lost, 5, 1_234_000),
        )
        for change in changes
    ]
    account = Account(1_234_999, 0, "fentry", Outcome(1_234_560, lost and lost + 2))
    return MethodResult(name, f"{name} 1.0", runs, cost_ns, account)


def results(*rows: MethodResult, latency: bool = True, **others: str) -> Results:
    made = Results(
        "ip_rcv",
        others.pop("mode", "count"),
        others.pop("workload", "redis-benchmark -p 41234 -t set -n 100000"),
        "6.12.107",
        others.pop("clock", "time"),
        others.pop("mitigations", "on"),
        others.pop("metric", "requests/s"),
        ["kwalk 0.1.0", "redis 7.0.15"],
        [WorkloadRun(20000, 2.0, dict(LATENCY)) for _ in range(3)],
        list(rows),
        **others,
    )
    if not latency:
        for sample in [*made.base, *(run.sample for row in made.rows for run in row.runs)]:
            sample.latency = {}
    return made


def usual() -> Results:
    return results(
        row("helper", [-12.3, -13.1, -11.0], cost_ns=1234),
        row("manual:fentry", [2.5, 3.5, 1.5], lost=7, cost_ns=345),
        MethodResult("perf", not_run="perf is not installed"),
        row("bpftrace", [-40.0, -40.0, -40.0], lost=None),
    )


def plain(text: str) -> str:
    """Without line ends, which fall where the width has them."""
    return " ".join(text.split())


@WIDTHS
def test_table_shows_numbers_in_full(width: int) -> None:
    text = bench.as_text(usual(), width)
    assert max(map(len, text.splitlines())) <= width
    for name in ("none", "helper", "manual:fentry", "bpftrace"):
        assert re.search(rf"^ *{name} ", text, re.MULTILINE)
    for number in ("20,000", "17,540", "20,500", "12,000", "1,234,560", "1,234", "345", "430"):
        assert re.search(rf"(?<![\d,]){number}(?![\d,])", text), number
    assert "\N{MINUS SIGN}12.3" in text
    assert "+2.5" in text
    assert not re.search(r"-\d", text.replace("redis-benchmark -p 41234", ""))
    assert "\N{HORIZONTAL ELLIPSIS}" not in text


def test_wide_table_has_one_line_for_each_method() -> None:
    lines = bench.as_text(usual(), WIDE).splitlines()
    found = {line.split()[0]: plain(line) for line in lines if line.strip()}
    minus = "\N{MINUS SIGN}"
    helper = f"helper 17,540 {minus}12.3 % {minus}13.1 .. {minus}11.0 2.4 % 1.2 s"
    other = f"bpftrace 12,000 {minus}40.0 % identical runs 2.4 % 1.2 s"
    rows = [plain(line) for line in lines]
    assert f"{helper} 1,234,999 1,234,560 0 439 1,234" in rows
    assert f"{other} 1,234,999 1,234,560 unknown 439 \N{EN DASH}" in rows
    assert "none 20,000" in rows
    assert "perf" in found  # in the notes
    assert "ip_rcv, counting stacks: redis-benchmark -p 41234 -t set -n 100000" in rows


@WIDTHS
def test_latencies_are_a_table_where_the_workload_reports_them(width: int) -> None:
    text = bench.as_text(usual(), width)
    assert "none 1.103 7.935 7.935 22.559 23.000" in plain(text)
    assert "helper 2.206 15.870 15.870 45.118 46.000" in plain(text)
    assert "answered within, in ms" in text
    assert "answered within" not in bench.as_text(results(latency=False), width)
    made = results()
    for sample in made.base:
        del sample.latency[100.0]
    assert "none 1.103 7.935 7.935 22.559 \N{EN DASH}" in plain(bench.as_text(made, width))


@WIDTHS
def test_notes_say_what_has_to_be_known(width: int) -> None:
    text = plain(bench.as_text(usual(), width))
    assert "Linux 6.12.107; kwalk 0.1.0; redis 7.0.15" in text
    assert "perf was not run: perf is not installed" in text
    assert "ended early" not in text
    assert "mitigations" not in text
    stopped = results(row("helper", [1.0]), stopped="interrupted", mitigations="off")
    text = plain(bench.as_text(stopped, width))
    assert "It ended early: interrupted" in text
    assert "Linux 6.12.107, mitigations=off;" in text


def test_cost_unit_depends_on_the_clock() -> None:
    assert " ns/event" in bench.as_text(usual(), WIDE)
    text = bench.as_text(results(row("helper", [1.0], cost_ns=9), clock="instructions"), WIDE)
    assert " ns/event" not in text
    assert " instructions/event" in text
    assert "the clock counts instructions, 1 ns each" in text


def test_workload_timed_by_the_wall_is_marked_and_small_rates_have_digits() -> None:
    made = results(row("helper", [-5.0]), metric="runs/s", latency=False)
    for sample in made.base:
        sample.rate = 0.0123456
    text = bench.as_text(made, WIDE)
    assert "its duration was taken" in text
    assert "0.01235" in text
    assert "its duration was taken" not in bench.as_text(usual(), WIDE)


def test_notes_say_how_calls_were_counted() -> None:
    text = plain(bench.as_text(usual(), WIDE))
    assert "Calls were counted by an empty program (fentry) in one more run of each method" in text
    assert "outside the load" not in text
    assert "still busy" not in text
    made = usual()
    accounts = [row.account for row in made.rows if row.account]
    accounts[1].outside = 12_345
    made.rows[0].runs[1].quiet = False
    text = plain(bench.as_text(made, WIDE))
    assert "Up to 12,345 more calls came while a method started or ended, outside the load" in text
    assert "helper was still busy 20 s after it had attached" in text
    assert "manual:fentry was still busy" not in text


def test_losses_in_timed_runs_alone_are_told() -> None:
    made = usual()
    manual = made.rows[1]
    assert manual.account
    assert "in the runs that were timed" not in bench.as_text(made, WIDE)
    manual.account.outcome.lost = 0
    assert "manual:fentry lost 21 calls in the runs that were timed" in bench.as_text(made, WIDE)


def test_method_whose_calls_were_not_counted_shows_its_own_numbers() -> None:
    made = usual()
    helper = made.rows[0]
    helper.account, helper.not_counted = None, "no function of that name"
    text = plain(bench.as_text(made, WIDE))
    assert "1.2 s \N{EN DASH} 1,234,567 0 unknown 1,234" in text
    assert "Calls under helper were not counted: no function of that name" in text
    (data, *_) = bench.as_data(made)["methods"]
    assert (data["calls"], data["not_counted"]) == (None, "no function of that name")


def test_empty_program_delivers_nothing_and_loses_nothing() -> None:
    made = results(row("empty:fentry", [-1.0], cost_ns=68))
    empty = made.rows[0]
    empty.account = Account(40_410, 0, "fentry", Outcome(None, None))
    dash = "\N{EN DASH}"
    assert f"1.2 s 40,410 {dash} {dash} {dash} 68" in plain(bench.as_text(made, WIDE))
    (data,) = bench.as_data(made)["methods"]
    assert (data["calls"]["delivered"], data["calls"]["silent"]) == (None, None)


WORKLOAD = "wrk 'http://[fd00:100:a::1]:8080/[/b]' '[red]'"


@WIDTHS
def test_workload_command_is_shown_verbatim(width: int) -> None:
    text = plain(bench.as_text(results(row("helper", [1.0]), workload=WORKLOAD), width))
    assert f"ip_rcv, counting stacks: {WORKLOAD}" in text


def test_notes_are_shown_as_they_are() -> None:
    reason = "no answer from [fd00:100:a::1], [/b]"
    text = plain(bench.as_text(results(MethodResult("perf", not_run=reason), stopped=reason), WIDE))
    assert f"perf was not run: {reason}" in text
    assert f"It ended early: {reason}" in text


def test_table_of_one_run_has_no_interval() -> None:
    assert "one run: no interval" in bench.as_text(results(row("helper", [1.0])), WIDE)


def test_printing_is_told_from_counting() -> None:
    assert "ip_rcv, printing every stack: " in bench.as_text(results(mode="stream"), WIDE)


@WIDTHS
def test_table_without_measurements_has_no_rows(width: int) -> None:
    made = results(MethodResult("perf", not_run="perf is not installed"), MethodResult("helper"))
    made.base.clear()
    made.metric = ""
    text = bench.as_text(made, width)
    assert "perf was not run" in text
    assert "helper" not in text
    assert not re.search(r"^ *none +\S", text, re.MULTILINE)


def late() -> Results:
    """A method that gave up after its first run."""
    made = results(row("helper", [-1.0]), row("manual", [-1.0, -2.0]))
    made.rows[0].not_run = "it did not end within 60 seconds"
    return made


@pytest.mark.parametrize(
    "report",
    [lambda made: bench.as_text(made, WIDE), lambda made: json.dumps(bench.as_data(made)), as_html],
    ids=["text", "json", "html"],
)
def test_reports_tell_why_a_method_has_fewer_runs(report: Callable[[Results], str]) -> None:
    assert "it did not end within 60 seconds" in report(late())


def test_data_is_json_with_a_schema_and_each_run() -> None:
    data = json.loads(json.dumps(bench.as_data(usual()), allow_nan=False))
    assert data["schema"] == "kwalk.bench/2"
    assert (data["function"], data["mode"], data["metric"]) == ("ip_rcv", "count", "requests/s")
    assert (data["kernel"], data["clock"], data["mitigations"]) == ("6.12.107", "time", "on")
    assert data["versions"] == ["kwalk 0.1.0", "redis 7.0.15"]
    assert data["stopped"] == ""
    assert data["base"]["rates"] == [20000] * 3
    assert data["base"]["latency"] == [[share, ms] for share, ms in LATENCY.items()]
    helper, manual, perf, bpftrace = data["methods"]
    assert perf == {"name": "perf", "not_run": "perf is not installed"}
    assert helper["name"] == "helper"
    assert helper["changes"] == [-12.3, -13.1, -11.0]
    assert (helper["change"], helper["interval"]) == (-12.3, [-13.1, -11.0])
    assert helper["rates"] == pytest.approx([17540, 17380, 17800])
    assert (helper["cost_ns"], helper["verdict"]) == (1234, "")
    assert helper["delivered"] == [1_234_567] * 3
    assert manual["calls"] == {
        "calls": 1_234_999, "outside": 0, "counter": "fentry",
        "delivered": 1_234_560, "lost": 9, "silent": 430,
    }  # fmt: skip
    assert helper["quiet"] == [True] * 3
    assert (manual["lost"], bpftrace["lost"]) == ([7] * 3, [None] * 3)
    assert (manual["fallback"], manual["printed_2s_after"]) == ([5] * 3, 1_234_000)
    assert (manual["reader_share"], manual["attach_seconds"]) == (0.024, [1.25] * 3)
    assert (bpftrace["cost_ns"], bpftrace["verdict"]) == (None, "identical runs")
    assert dict(manual["latency"])[50.0] == 2.206


def test_data_of_an_interrupted_experiment_says_so() -> None:
    made = results(MethodResult("helper"), stopped="interrupted")
    made.base.clear()
    data = json.loads(json.dumps(bench.as_data(made)))
    assert data["stopped"] == "interrupted"
    assert data["base"] == {"rates": [], "latency": []}
    assert data["methods"] == [{"name": "helper", "not_run": "interrupted"}]


def classes(page: Elements, tag: str, name: str) -> list[dict[str, str | None]]:
    return [each for each in page.found.get(tag, []) if each.get("class") == name]


def spans(page: Elements, tag: str) -> list[tuple[float, float]]:
    """Left ends and widths of bars (b) or of the lines over them (i), in percent."""
    names = [name for each in page.found.get(tag, []) for name in (each["class"] or "").split()]
    rule = r"\.{} {{ left: (.+)%; width: (.+)%; }}"
    matches = (re.search(rule.format(name), page.css) for name in names)
    return [(float(match[1]), float(match[2])) for match in matches if match]


def test_page_has_a_bar_and_a_row_for_each_method_that_ran() -> None:
    page = Elements(as_html(usual()))
    assert len(classes(page, "div", "bar")) == 3
    assert len(spans(page, "b")) == len(spans(page, "i")) == 3
    assert len(page.found["tr"]) == 1 + 4  # no tracing is one of them
    for words in (
        "20,000",
        "helper",
        "manual:fentry",
        "bpftrace",
        "17,540",
        "1,234,560",
        "439",
        "unknown",
    ):
        assert words in page.text
    assert "\N{MINUS SIGN}12.3 %" in page.text
    assert "+2.5 %" in page.text
    assert "identical runs" in page.text
    assert "the median of 3 runs" in page.text
    assert "perf was not run: perf is not installed" in page.text
    assert "Linux 6.12.107; kwalk 0.1.0; redis 7.0.15" in page.text


def test_bars_go_from_no_change_to_the_change() -> None:
    helper, manual, bpftrace = spans(Elements(as_html(usual())), "b")
    no_change = manual[0]
    assert sum(helper) == pytest.approx(no_change, abs=0.02)
    assert sum(bpftrace) == pytest.approx(no_change, abs=0.02)
    assert bpftrace[0] == 0  # the greatest loss
    assert helper[1] / bpftrace[1] == pytest.approx(12.3 / 40, abs=0.01)
    assert manual[1] / bpftrace[1] == pytest.approx(2.5 / 40, abs=0.01)


CHANGES = st.lists(st.floats(-100, 1000), min_size=1, max_size=3)


@settings(max_examples=15)
@given(
    st.lists(CHANGES, max_size=3),
    st.floats(1e-3, 1e6) | st.sampled_from([10.0**power for power in range(-3, 7)]),
)
def test_plots_stay_in_their_frames(methods: list[list[float]], longest: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 100)
        rows = [row(f"m{number}", changes) for number, changes in enumerate(methods)]
        made = results(*rows)
        for sample in [*made.base, *(run.sample for row in rows for run in row.runs)]:
            sample.latency[100.0] = longest
        page = Elements(as_html(made))
    assert len(spans(page, "b")) == len(methods)
    for left, width in spans(page, "b") + spans(page, "i"):
        assert 0 <= left <= 100
        assert 0 <= width <= 100
        assert left + width <= 100.3  # a line of no length is still to be seen
    (svg,) = page.found["svg"]
    size = [float(text) for text in (svg["viewbox"] or "").split()]
    for circle in page.found["circle"]:
        assert 0 < float(circle["cx"] or "") < size[2]
        assert 0 < float(circle["cy"] or "") < size[3]


@pytest.mark.parametrize("changes", [[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]])
def test_page_draws_gains_only_losses_only_and_no_change(changes: list[float]) -> None:
    page = Elements(as_html(results(row("helper", changes))))
    ((left, width),) = spans(page, "b")
    if changes[0] > 0:
        assert left == 0
    if changes[0] < 0:
        assert left + width == pytest.approx(100, abs=0.02)
    assert (width > 0) == (changes[0] != 0)


def test_page_escapes_html() -> None:
    evil = "sh -c '<script>alert(1)</script> & \"x\"'"
    made = results(
        row("<b>helper", [1.0]),
        MethodResult("perf", not_run="<i>why"),
        workload=evil,
        metric="<u>s",
        stopped="<p>late",
    )
    made.versions = ["<em>1.0"]
    made.function = "<s>"
    text = as_html(made)
    page = Elements(text)
    assert "script" not in page.found
    assert not {"u", "s", "em"} & set(page.found)
    assert "<script" not in text
    for words in (evil, "<b>helper", "<i>why", "<u>s", "<p>late", "<em>1.0", "kwalk bench: <s>"):
        assert words in page.text


def test_latencies_are_a_curve_for_each_that_reports_them() -> None:
    page = Elements(as_html(usual()))
    assert len(page.found["polyline"]) == 4
    assert len(page.found["circle"]) == 4 * len(LATENCY)
    assert "none: 50 % within 1.103 ms" in page.text
    assert "helper: 50 % within 2.206 ms" in page.text
    # The same colour for the same method in both pictures, none of them twice.
    colors = [each.get("class") for each in page.found["polyline"]]
    classes = [(each["class"] or "").split() for each in page.found["b"]]
    bars = [names[0] for names in classes if len(names) == 2]
    assert colors[1:] == bars
    assert len(set(colors)) == 4


def test_page_without_latencies_has_no_plot() -> None:
    made = results(row("helper", [1.0, 2.0]), latency=False)
    page = Elements(as_html(made))
    assert "svg" not in page.found
    assert "Latency" not in page.text
    assert len(classes(page, "div", "bar")) == 1


def test_page_of_one_run_has_no_interval() -> None:
    made = results(row("helper", [1.0]))
    del made.base[1:]
    page = Elements(as_html(made))
    assert spans(page, "i") == []
    assert "one run: no interval" in page.text
    assert "the median of 1 run of each" in page.text


def test_page_without_measurements_is_rendered() -> None:
    made = results(MethodResult("helper"), stopped="interrupted")
    made.base.clear()
    made.metric = ""
    page = Elements(as_html(made))
    assert classes(page, "div", "bar") == []
    assert "It ended early: interrupted" in page.text
