# SPDX-License-Identifier: MIT
"""What a workload's output says about its speed, and how sure the numbers are."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwalk.bench import metric as metrics
from kwalk.bench.metric import Metric
from kwalk.bench.results import MethodResult, Outcome, Run, WorkloadRun, figures, middle, within
from kwalk.bench.statistics import interval, verdict
from kwalk.errors import KwalkError

REDIS = """\
====== SET ======
  20000 requests completed in 0.82 seconds
  50 parallel clients
  3 bytes payload
  keep alive: 1
  host configuration "save": \n\
  host configuration "appendonly": no
  multi-thread: no

Latency by percentile distribution:
0.000% <= 0.047 milliseconds (cumulative count 1)
50.000% <= 1.103 milliseconds (cumulative count 10127)
99.219% <= 7.935 milliseconds (cumulative count 19844)
99.997% <= 22.559 milliseconds (cumulative count 20000)
100.000% <= 22.559 milliseconds (cumulative count 20000)

Cumulative distribution of latencies:
0.010% <= 0.103 milliseconds (cumulative count 2)
99.910% <= 22.111 milliseconds (cumulative count 19982)
100.000% <= 23.103 milliseconds (cumulative count 20000)

Summary:
  throughput summary: 24301.34 requests per second
  latency summary (msec):
          avg       min       p50       p95       p99       max
        1.385     0.040     1.103     3.335     6.143    22.559
"""
REDIS_QUIET = """\
SET: rps=0.0 (overall: 0.0) avg_msec=-nan (overall: -nan)
SET: rps=12869.6 (overall: 12818.9) avg_msec=2.819 (overall: 2.819)
SET: 15000.00 requests per second, p50=1.263 msec
GET: rps=7885.8 (overall: 27819.4) avg_msec=1.230 (overall: 1.230)
GET: 25000.00 requests per second, p50=1.095 msec
"""
REDIS_CSV = """\
"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms"
"SET","14892.03","2.553","0.184","1.207","6.799"
"""
REDIS_5 = """\
====== SET ======
  100000 requests completed in 1.38 seconds
  50 parallel clients
  3 bytes payload
  keep alive: 1

99.90% <= 1 milliseconds
99.95% <= 2 milliseconds
100.00% <= 2 milliseconds
72463.77 requests per second
"""
WRK = """\
Running 30s test @ http://127.0.0.1:8080/index.html
  12 threads and 400 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   635.91us    0.89ms  12.92ms   93.69%
    Req/Sec    56.20k     8.07k   62.00k    86.54%
  Latency Distribution
     50%  250.00us
     75%  491.00us
     90%  700.00us
     99%    5.80ms
  22464657 requests in 30.00s, 17.76GB read
Requests/sec: 748868.53
Transfer/sec:    606.33MB
"""
FIO = """\
fio-3.33
Starting 1 process
Jobs: 1 (f=1): [r(1)][100.0%][r=48.2MiB/s][r=12.9k IOPS][eta 00m:00s]
job: (groupid=0, jobs=1): err= 0: pid=4242: Mon Jan  5 12:00:00 2026
  read: IOPS=12.3k, BW=48.0MiB/s (50.4MB/s)(480MiB/10001msec)
    clat (usec): min=61, max=5234, avg=80.10, stdev=20.72
   iops        : min=11902, max=12790, avg=12301.05, stdev=213.20, samples=19
"""
PGBENCH = """\
pgbench (15.5)
transaction type: <builtin: TPC-B (sort of)>
number of clients: 10
progress: 5.0 s, 880.2 tps, lat 11.300 ms stddev 7.4, 0 failed
number of transactions actually processed: 10000/10000
latency average = 11.013 ms
initial connection time = 45.758 ms
tps = 896.967014 (without initial connection time)
"""
SYSBENCH_CPU = """\
CPU speed:
    events per second:   987.65

General statistics:
    total time:                          10.0003s
    total number of events:              9878
"""
SYSBENCH_OLTP = """\
SQL statistics:
    queries performed:
        total:                           240000
    transactions:                        12000  (1199.54 per sec.)
    queries:                             240000 (23990.80 per sec.)
    ignored errors:                      0      (0.00 per sec.)

General statistics:
    total number of events:              12000
"""


@pytest.mark.parametrize(
    ("text", "rate", "unit"),
    [
        (REDIS, 24301.34, "requests/s"),
        (REDIS_QUIET, 20000.0, "requests/s"),  # of two tests
        (REDIS_CSV, 14892.03, "requests/s"),
        (REDIS_5, 72463.77, "requests/s"),
        (WRK, 748868.53, "requests/s"),
        (FIO, 12300.0, "I/Os per second"),
        (FIO.replace("12.3k", "834"), 834.0, "I/Os per second"),
        (FIO.replace("12.3k", "1.25M"), 1.25e6, "I/Os per second"),
        (PGBENCH, 896.967014, "transactions/s"),
        (SYSBENCH_CPU, 987.65, "events/s"),
        (SYSBENCH_OLTP, 1199.54, "events/s"),
    ],
)
def test_programs_are_known_by_what_they_print(text: str, rate: float, unit: str) -> None:
    metric = metrics.recognize(text)
    assert metric.unit == unit
    sample = metrics.read(text, 2.5, metric)
    assert sample.rate == pytest.approx(rate)
    assert sample.seconds == 2.5


def test_latencies_are_the_exact_ones_not_those_of_the_stepped_table() -> None:
    assert metrics.latencies(REDIS) == {
        0.0: 0.047,
        50.0: 1.103,
        99.219: 7.935,
        99.997: 22.559,
        100.0: 22.559,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (REDIS_5, {99.9: 1.0, 99.95: 2.0, 100.0: 2.0}),
        (WRK, {50.0: 0.25, 75.0: 0.491, 90.0: 0.7, 99.0: 5.8}),
        (WRK.replace("5.80ms", "1.20s"), {50.0: 0.25, 75.0: 0.491, 90.0: 0.7, 99.0: 1200.0}),
        (WRK.replace("  Latency Distribution\n", ""), {}),
        (REDIS_CSV, {}),
        (FIO, {}),
        ("", {}),
    ],
)
def test_latencies_are_in_milliseconds(text: str, expected: dict[float, float]) -> None:
    assert metrics.latencies(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "done\n", "42\n", "12 requests, 3 errors\n"])
def test_unknown_output_is_measured_by_wall_time(text: str) -> None:
    metric = metrics.recognize(text)
    assert metric is metrics.WALL
    sample = metrics.read(text, 0.25, metric)
    assert (sample.rate, sample.seconds, sample.latency) == (4.0, 0.25, {})


@pytest.mark.parametrize(
    ("pattern", "rate"),
    [
        (r"ops=([\d.]+)", 1500.5),
        (r"(?<=ops=)[\d.]+", 1500.5),  # no group: all of it
        (r"total ([\d,]+)", 12345.0),
        (r"([\d.]+)([kM]?)B/s", 2000.0),
        (r"^n (\d+)$", 20.0),  # several are averaged
    ],
)
def test_custom_metric_is_read_from_the_output(pattern: str, rate: float) -> None:
    text = "ops=1500.5 total 12,345\n2kB/s\nn 10\nn 30\n"
    assert metrics.read(text, 1.0, Metric("", "", pattern)).rate == pytest.approx(rate)


@pytest.mark.parametrize("pattern", [r"([\d.]+) (req|op)s/s", r"([\d.]+) (reqs/s)?"])
def test_metric_reads_its_first_group(pattern: str) -> None:
    assert Metric("", "", pattern).find("125.5 reqs/s") == 125.5


@pytest.mark.parametrize("pattern", [r"ops=(\w+)", r"ops=\w+", r"ops=(\d+)?"])
def test_metric_match_without_a_number_is_an_error(pattern: str) -> None:
    with pytest.raises(KwalkError) as failed:
        metrics.read("ops=fast", 1.0, Metric("", "", pattern))
    what, hint = str(failed.value).splitlines()
    assert what.startswith("the metric's regular expression found 'ops=")
    assert what.endswith(", which is not a number")
    assert "first group" in hint


@pytest.mark.parametrize("number", ["nan", "-nan", "inf"])
def test_metric_refuses_nan_infinity_and_zero(number: str) -> None:
    with pytest.raises(KwalkError):
        metrics.read(f"ops={number}\n", 1.0, Metric("", "", r"ops=(\S+)"))


@pytest.mark.parametrize("text", ["warming up\nall done\n\n", ""])
def test_metric_without_a_match_shows_the_last_line(text: str) -> None:
    with pytest.raises(KwalkError) as failed:
        metrics.read(text, 1.0, Metric("", "", r"ops=(\d+)"))
    what, hint = str(failed.value).splitlines()
    assert what.startswith("no throughput can be found in the workload's output: it does not match")
    assert r"'ops=(\\d+)'" in what
    assert hint.strip() == f"Its last line was: {'all done' if text else 'it printed nothing'}"


@pytest.mark.parametrize(
    "text",
    [
        "1.2.3% <= 4 milliseconds",
        "99% <= 1.2.3 milliseconds",
        ".% <= . milliseconds",
        "101% <= 5 milliseconds",
        "  Latency Distribution\n  1.2%  1.2.3ms\n",
        "  Latency Distribution\n  99%  ...us\n",
        "1.2.3 requests per second",
        "... requests per second",
        "  read: IOPS=1.2.3k",
        "tps = . (without initial connection time)",
        "events per second: ..",
    ],
)
def test_lines_that_only_resemble_a_known_program_are_ignored(text: str) -> None:
    assert metrics.latencies(text) == {}
    assert metrics.recognize(text) is metrics.WALL
    sample = metrics.read(f"{text}\n50.0% <= 2 milliseconds\n", 2.0, metrics.WALL)
    assert sample.rate == 0.5


LINES = st.lists(
    st.sampled_from(
        ["0", "1", "9" * 400, ".", ",", "%", " <= ", " milliseconds", " requests per second", "nan",
         "inf", "-", "e", "Requests/sec: ", "IOPS=", "k", "M", "G", "tps = ", "events per second: ",
         "transactions: 1 (", " per sec.)", "Latency Distribution", "ms", "us", "\n", "\n  "]
    ),
    max_size=12,
).map("".join)  # fmt: skip


@settings(max_examples=300)
@given(LINES)
def test_any_output_is_a_sample_or_a_message(text: str) -> None:
    metric = metrics.recognize(text)
    try:
        sample = metrics.read(text, 1.5, metric)
    except KwalkError:
        return
    assert 0 < sample.rate < math.inf
    for share, time in metrics.latencies(text).items():
        assert 0 <= share <= 100
        assert 0 <= time < math.inf


@pytest.mark.parametrize("number", ["-5", "-0.1", "nan", "inf", "1e999", "-inf"])
def test_negative_and_infinite_throughput_are_refused(number: str) -> None:
    with pytest.raises(KwalkError, match="which is not a number"):
        metrics.read(f"ops={number}", 1.0, Metric("", "", r"ops=(\S+)"))


def test_known_program_without_a_result_is_an_error() -> None:
    with pytest.raises(KwalkError, match="it has none this time"):
        metrics.read("Error: Server closed the connection\n", 1.0, metrics.recognize(REDIS))


def test_zero_throughput_is_not_called_a_mismatch() -> None:
    with pytest.raises(KwalkError) as failed:
        metrics.read("ops=0\n", 1.0, Metric("", "", r"ops=(\d+)"))
    assert "does not match" not in failed.value.what


VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=7)


@settings(max_examples=15)
@given(VALUES)
def test_interval_contains_the_median(values: list[float]) -> None:
    low, high = interval(values)
    assert min(values) <= low <= statistics.median(values) <= high <= max(values)


def test_interval_is_reproducible() -> None:
    values = [float(number**2 % 101) for number in range(50)]
    assert len({interval(values) for _ in range(5)}) == 1


@settings(max_examples=10)
@given(st.floats(-1e6, 1e6), st.integers(2, 7))
def test_equal_runs_have_no_width(value: float, number: int) -> None:
    assert interval([value] * number) == (value, value)
    assert verdict([value] * number) == "identical runs"


def test_interval_of_full_certainty_spans_all_medians() -> None:
    assert interval([1.0, 2.0, 3.0, 4.0, 5.0], 1.0) == (1, 5)


# Resampled medians are at most the k-th of n values with a probability that is known: the
# binomial's. For 7 values that is 1.0 %, 10.8 %, 34.7 %; for 5 it is 5.8 %, 31.7 %.
@pytest.mark.parametrize(
    ("number", "level", "expected"),
    [(5, 0.95, (1, 5)), (7, 0.95, (2, 6)), (5, 0.5, (2, 4)), (7, 0.5, (3, 5))],
)
def test_interval_equals_the_bootstraps(
    number: int, level: float, expected: tuple[int, int]
) -> None:
    assert interval([float(value + 1) for value in range(number)], level) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([-3.0], "one run: no interval"),
        ([-3.0, -3.0], "identical runs"),
        ([-1.0, 0.5, -0.5, 1.0], "within the noise"),
        ([-1.0, 0.0], "within the noise"),
        ([-3.0, -2.0, -9.0], ""),
        ([3.0, 2.0, 9.0], ""),
    ],
)
def test_verdict_says_how_far_a_change_can_be_trusted(changes: list[float], expected: str) -> None:
    assert verdict(changes) == expected


def run(rate: float, change: float, seconds: float = 2.0, **latency: float) -> Run:
    percent = {float(share[1:]): ms for share, ms in latency.items()}
    return Run(WorkloadRun(rate, seconds, percent), change, rate / 100, rate / 1000, Outcome(1, 0))


def test_figures_are_medians_over_the_runs() -> None:
    found = figures(
        MethodResult("a", runs=[run(100, -5, p50=1), run(300, -7, p50=9), run(200, -6, 4.0, p50=2)])
    )
    assert found
    assert (found.rate, found.change, found.attach_seconds) == (200, -6, 2.0)
    assert found.reader_share == 0.05  # of 0.05, 0.15 and 0.05
    assert found.latency == {50.0: 2}
    assert (found.interval, found.verdict) == ((-7, -5), "")
    assert figures(MethodResult("b")) is None


def test_latencies_of_several_runs_are_those_that_all_report() -> None:
    assert middle([{50.0: 1.0, 99.0: 5.0}, {50.0: 3.0, 99.5: 6.0}]) == {50.0: 2.0}
    assert middle([{50.0: 1.0}, {}]) == {}
    assert middle([]) == {}


@settings(max_examples=50)
@given(st.dictionaries(st.integers(0, 9), st.floats(0, 1e6), max_size=5), st.integers(0, 9))
def test_within_takes_the_next_share_that_is_known_and_no_smaller_one(
    found: dict[int, float], share: int
) -> None:
    latency = {float(known): ms for known, ms in sorted(found.items())}
    enough = [known for known in latency if known >= share]
    assert within(latency, share) == (latency[min(enough)] if enough else None)
