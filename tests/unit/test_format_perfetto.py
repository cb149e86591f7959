# SPDX-License-Identifier: MIT
"""Perfetto traces, decoded by Perfetto's own published schema."""

from __future__ import annotations

import gzip
from array import array
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from converted import by_name, close, exact, report
from hypothesis import given
from hypothesis import strategies as st
from pprof_schema import unknown_fields
from recorded import FACTS, frame, profile, profiles, reread, stack, written

from kwalk.api.profile import Profile
from kwalk.model.merge import merge
from kwalk.model.profile import Timeline
from kwalk.model.stack import Count, Group, Stack
from kwalk.support.printable import plain

pytest.importorskip("perfetto", reason="the package perfetto is not installed")
perfetto_trace_pb2 = pytest.importorskip(
    "perfetto.protos.perfetto.trace.perfetto_trace_pb2",
    reason="the installed package perfetto has no schema of traces",
)
if not hasattr(perfetto_trace_pb2, "StackSample"):
    pytest.skip("the installed package perfetto is older than 58", allow_module_level=True)

BOOTTIME, REALTIME = 6, 1


class Decoded:
    """A trace's samples with what they name by number, and its counters.

    :ivar samples: (seconds, thread, names root first): calls.
    :ivar counters: Name: [(seconds, value)].
    """

    def __init__(self, data: bytes) -> None:
        self.trace = perfetto_trace_pb2.Trace.FromString(gzip.decompress(data))
        assert unknown_fields(self.trace) == 0
        self.threads: dict[int, str] = {}
        self.counters: dict[str, list[tuple[float, float]]] = {}
        self.samples: Counter[tuple[float, str, tuple[str, ...]]] = Counter()
        self.attributes: list[str] = []
        self.slices: list[Any] = []
        self.weights = 0
        self._names: dict[int, str] = {}
        for packet in self.trace.packet:
            self._take(packet)

    def _take(self, packet: Any) -> None:
        seconds = packet.timestamp / 1e9
        kind = packet.WhichOneof("data")
        self.attributes += [a.string_value for a in packet.trace_attributes.attribute]
        if packet.HasField("interned_data"):
            assert packet.sequence_flags & packet.SEQ_INCREMENTAL_STATE_CLEARED
            self._intern(packet.interned_data)
            self.defaults = packet.trace_packet_defaults.stack_sample_defaults
        if kind == "track_descriptor":
            track = packet.track_descriptor
            if track.HasField("thread"):
                self.threads[track.thread.tid] = track.thread.thread_name
            self._names[track.uuid] = track.name
        elif kind == "track_event":
            event = packet.track_event
            if event.type == event.TYPE_COUNTER:
                name = self._names[event.track_uuid]
                row = seconds, event.double_counter_value
                self.counters.setdefault(name, []).append(row)
            else:
                self.slices.append(packet)
        elif kind == "stack_sample":
            assert packet.sequence_flags & packet.SEQ_NEEDS_INCREMENTAL_STATE
            assert packet.trusted_packet_sequence_id
            sample = packet.stack_sample
            task = self.tasks[sample.task_context_iid]
            assert task.pid
            thread = self.threads[task.tid] if task.HasField("tid") else ""
            self.weights += sample.primary_weight
            self.samples[seconds, thread, self.stacks[sample.callstack_iid]] += (
                sample.primary_weight
            )

    def _intern(self, data: Any) -> None:
        names = {row.iid: row.str.decode() for row in data.function_names}
        paths = {row.iid: row.str.decode() for row in data.mapping_paths}
        self.modules = {
            row.iid: "".join(paths[number] for number in row.path_string_ids)
            for row in data.mappings
        }
        self.files = {row.iid: row.str.decode() for row in data.source_paths}
        self.frames = {row.iid: row for row in data.frames}
        assert all(not f.mapping_id or f.mapping_id in self.modules for f in data.frames)
        self.stacks = {
            row.iid: tuple(names[self.frames[number].function_name_id] for number in row.frame_ids)
            for row in data.callstacks
        }
        self.tasks = {row.iid: row for row in data.stack_sample_task_contexts}
        for table in (names, paths, self.modules, self.frames, self.stacks, self.tasks):
            assert 0 not in table

    def sums(self) -> dict[tuple[str, ...], int]:
        """Calls of each stack, by the names of its functions, root first."""
        found: Counter[tuple[str, ...]] = Counter()
        for (_, _, names), calls in self.samples.items():
            found[names] += calls
        return dict(found)


@given(profiles())
def test_samples_have_every_count(found: Profile) -> None:
    made = Decoded(report("perfetto", found))
    assert close(made.sums(), by_name(found, plain), 0 if exact(found) else len(found))
    groups: Counter[str] = Counter()
    for (_, thread, _), calls in made.samples.items():
        groups[thread] += calls
    if exact(found):
        wanted: Counter[str] = Counter()
        for count in found:
            wanted[plain(str(count.group)) if count.group else ""] += count.count
        assert groups == wanted
        times: Counter[float] = Counter()
        for (seconds, _, _), calls in made.samples.items():
            times[seconds] += calls
        begins = [0.0, *found.timeline.ends]
        rows: Counter[float] = Counter()
        for interval, _, number in found.timeline.rows():
            rows[begins[interval]] += number
        assert times == +rows
    starts, rates = zip(*made.counters["all calls"], strict=True)
    assert starts == (0.0, *found.timeline.ends)
    assert rates[-1] == 0
    area = sum(rate * (end - begin) for rate, begin, end in
               zip(rates, starts, starts[1:], strict=False))  # fmt: skip
    assert area == pytest.approx(made.weights)


@given(profiles(), st.integers(1, 4))
def test_top_leaves_the_sum_as_it_was(found: Profile, top: int) -> None:
    whole = Decoded(report("perfetto", found)).weights
    half = 0 if exact(found) else 1  # of a call: floats added up otherwise may fall just below it
    assert abs(Decoded(report("perfetto", found, top=top)).weights - whole) <= half


def test_scaled_calls_of_a_second_are_a_share_of_all() -> None:
    """No call is lost to rounding, however many seconds there are."""
    one = stack("ip_rcv", "a")
    ticks = [[Count(one, taken, None, 3.5 * taken)] for taken in range(1, 8)]
    made = Decoded(report("perfetto", reread(written(ticks))))
    assert made.weights == 25  # of 24.5
    assert all(calls in (3, 4) for calls in made.samples.values())


def test_counters_are_calls_per_second_whatever_the_interval_lasts() -> None:
    found = profile(Count(stack("ip_rcv", "a"), 40))
    ends, rows = [4.0, 4.5], (array("I", [0, 1]), array("I", [0, 0]), array("q", [30, 10]))
    found.timeline = Timeline(ends, *rows)
    made = Decoded(report("perfetto", found))
    assert made.counters["all calls"] == [(0, 7.5), (4.0, 20), (4.5, 0)]


def test_merge_without_a_timeline_has_no_counters() -> None:
    found = reread(written([[Count(stack("ip_rcv", "a"), 2)], [Count(stack("ip_rcv", "a"), 3)]]))
    made = Decoded(report("perfetto", merge([found, profile(Count(stack("ip_rcv", "b"), 7))])))
    assert made.samples == {(0.0, "", ("a", "ip_rcv")): 5, (0.0, "", ("b", "ip_rcv")): 7}
    assert made.counters == {}


def test_samples_without_a_timeline_have_one_time() -> None:
    made = Decoded(report("perfetto", profile(Count(stack("ip_rcv", "a"), 5))))
    assert made.samples == {(0.0, "", ("a", "ip_rcv")): 5}
    assert made.counters == {}


def example() -> Profile:
    group = Group("pid", 1 << 40, "redis")
    found = reread(written([[
        Count(stack("ip_rcv", "a", "main"), 700, group),
        Count(stack("ip_rcv", "b@overlay", "main", truncated=True), 300),
    ]]))  # fmt: skip
    found.facts["started"] = "2026-11-25T16:50:56.462+00:00"
    return found


def test_capture_facts_are_in_the_trace() -> None:
    found = example()
    made = Decoded(report("perfetto", found, title="A title"))
    (snapshot,) = [p.clock_snapshot for p in made.trace.packet if p.HasField("clock_snapshot")]
    assert [(clock.clock_id, clock.timestamp) for clock in snapshot.clocks] == [
        (BOOTTIME, 0), (REALTIME, 1795625456462000000)
    ]  # fmt: skip
    (system,) = [p.system_info for p in made.trace.packet if p.HasField("system_info")]
    assert system.utsname.release == "6.12.107"
    assert made.attributes[0].startswith("ip_rcv: 1,001 calls = 1,000 stacks + 1 lost")
    begin, end = made.slices
    assert begin.track_event.name == made.attributes[0]
    assert (begin.timestamp, end.timestamp) == (0, 1_000_000_000)
    (ledger,) = [a for a in begin.track_event.debug_annotations if a.name == "ledger"]
    entries = {entry.name: entry for entry in ledger.dict_entries}
    assert (entries["hits"].int_value, entries["recorded"].int_value) == (1001, 1000)
    assert [(e.name, e.int_value) for e in entries["lost"].dict_entries] == [("recursion", 1)]
    assert entries["balance"].int_value == 0
    (process,) = [p.track_descriptor.process for p in made.trace.packet
                  if p.track_descriptor.HasField("process")]  # fmt: skip
    assert process.process_name == "A title"
    assert made.threads == {2: f"redis ({1 << 40})"}
    assert set(made.modules.values()) == {"[kernel.kallsyms]", "[overlay]"}
    assert made.defaults.primary_descriptor.name == "calls"
    assert made.counters == {
        "all calls": [(0, 1000), (1, 0)],
        "called by a": [(0, 700), (1, 0)],
        "called by b [overlay]": [(0, 300), (1, 0)],
    }


def test_counter_tracks_are_per_function_where_there_are_several() -> None:
    ticks = [[Count(stack("tcp_poll", "a"), 30), Count(stack("tcp_ack", "a"), 70)]]
    made = Decoded(report("perfetto", reread(written(ticks))))
    assert list(made.counters) == ["all calls", "tcp_poll", "tcp_ack"]


def test_counters_stand_in_the_order_in_which_they_are_given() -> None:
    made = Decoded(report("perfetto", example()))
    tracks = [p.track_descriptor for p in made.trace.packet if p.HasField("track_descriptor")]
    ranks = {track.name: track.sibling_order_rank for track in tracks if track.HasField("counter")}
    assert sorted(ranks, key=ranks.__getitem__) == list(made.counters)
    assert sorted(ranks.values()) == [0, 1, 2]


def test_counter_tracks_of_equal_functions_are_chosen_by_name() -> None:
    ticks = [[Count(stack(f"tcp_{index:02}", "a"), 5) for index in range(20, 0, -1)]]
    made = Decoded(report("perfetto", reread(written(ticks))))
    assert set(made.counters) == {"all calls"} | {f"tcp_{index:02}" for index in range(1, 13)}


def test_counter_tracks_are_per_module_for_one_name() -> None:
    ticks = [[Count(stack("init@a", "x"), 30), Count(stack("init@b", "x"), 70)]]
    made = Decoded(report("perfetto", reread(written(ticks))))
    assert set(made.counters) == {"all calls", "init [a]", "init [b]"}


@pytest.mark.parametrize("names", [["ip_rcv"] * 4, ["tcp_poll", "tcp_ack", "tcp_rcv", "tcp_v4"]])
def test_counter_tracks_omit_what_top_leaves_out(names: list[str]) -> None:
    ticks = [[Count(stack(name, f"f{n}"), 10 + n) for n, name in enumerate(names)]]
    found = reread(written(ticks))
    whole = Decoded(report("perfetto", found))
    made = Decoded(report("perfetto", found, top=2))
    assert made.counters.items() <= whole.counters.items()
    assert len(made.counters) == 3
    assert made.counters["all calls"] == [(0, 46), (1, 0)]


def test_counter_tracks_are_of_the_hottest_functions() -> None:
    ticks = [[Count(stack(f"tcp_{index}", "a"), index) for index in range(1, 40)]]
    made = Decoded(report("perfetto", reread(written(ticks))))
    assert set(made.counters) == {"all calls"} | {f"tcp_{index}" for index in range(28, 40)}


def test_frames_have_their_source() -> None:
    base = frame("a", 0x20)
    frames = (
        frame("ip_rcv", 0),
        base._replace(name="inner", offset=0, source="net/x.h:7", inlined=True),
        base._replace(source="net/y.c:9"),
    )
    counts = [Count(Stack(tuple(f.address for f in frames), frames=frames), 3)]
    made = Decoded(report("perfetto", Profile(counts, profile(*counts).summary, facts=FACTS)))
    (names,) = made.stacks.values()
    assert names == ("a", "inner (inlined)", "ip_rcv")
    lines = {(made.files[f.source_path_iid], f.line_number) for f in made.frames.values()
             if f.source_path_iid}  # fmt: skip
    assert lines == {("net/x.h", 7), ("net/y.c", 9)}


def test_intervals_without_length_have_a_rate_of_nothing() -> None:
    found = profile(Count(stack("ip_rcv", "a"), 5))
    found.timeline = Timeline(ends=[1.0, 1.0])
    found.timeline.intervals.extend([0, 1])
    found.timeline.counts.extend([0, 0])
    found.timeline.numbers.extend([4, 1])
    made = Decoded(report("perfetto", found))
    assert made.weights == 5
    assert sum(made.sums().values()) == Fraction(5)
