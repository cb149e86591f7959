# SPDX-License-Identifier: MIT
"""Values that make no sense are refused before anything is attached, in one clear line."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk import errors
from kwalk.abi import Method, Output, Per
from kwalk.cli import published, trace_options, values
from kwalk.cli.commands import count, stream
from kwalk.cli.main import main
from kwalk.cli.parsers import spell_out
from kwalk.options import limits
from kwalk.options.keywords import FIRST_CHANCE, METHODS, Choices, probe_options
from kwalk.transport import context_tree

UsageError = Callable[..., str]


@pytest.fixture(autouse=True)
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[argparse.Namespace]:
    """Nothing is traced here; this is what would have been run."""
    seen: list[argparse.Namespace] = []

    def run(args: argparse.Namespace) -> int:
        seen.append(args)
        return 0

    monkeypatch.setattr(stream.command, "run", run)
    monkeypatch.setattr(count.command, "run", run)
    monkeypatch.setattr(published, "_run", run)
    return seen


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--interval", "0", "'0' is not a number of seconds above 0"),
        ("--interval", "nan", "'nan' is not a number of seconds above 0"),
        ("--top", "0", "'0' is not a whole number above 0"),
        ("--top", "-1", "'-1' is not a whole number above 0"),
        ("--format", "xml", "'xml' is not one of "),
    ],
)
@pytest.mark.parametrize("command", [("count",), ()], ids=["count", "no command"])
def test_count_option_with_a_bad_value_is_named(
    usage_error: UsageError, command: tuple[str, ...], option: str, value: str, complaint: str
) -> None:
    line = usage_error(main, *command, "ip_rcv", f"{option}={value}")
    assert line.startswith(f"kwalk count: error: argument {option}: ")
    assert complaint in line


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--nodes", "0", "'0' is not a whole number from 1 to 8,388,608"),
        ("--nodes", "8388609", "'8388609' is not a whole number from 1 to 8,388,608"),
        ("--duration", "nan", "'nan' is not a number of seconds above 0"),
        ("--depth", "1", "'1' is not a whole number from 2 to 127"),
        ("--budget", "0", "'0' is not between 0 % and 100 %"),
        ("--budget", "100%", "'100%' is not between 0 % and 100 %"),
        ("--budget", "nan", "'nan' is not between 0 % and 100 %"),
        ("--budget", "little", "'little' is not between 0 % and 100 %"),
        ("--verify", "2/3", "'2/3' is not of the form 1/N"),
        ("--method", "best", "'best' is not one of "),
    ],
)
def test_options_that_commands_share_are_checked_in_each(
    usage_error: UsageError, option: str, value: str, complaint: str
) -> None:
    for argv in (("ip_rcv",), ("count", "ip_rcv"), ("stream", "ip_rcv")):
        line = usage_error(main, *argv, f"{option}={value}")
        assert f": error: argument {option}: " in line
        assert complaint in line


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--count", "x", "'x' is not a whole number above 0"),
        ("--count", "0", "'0' is not a whole number above 0"),
        ("--count", "-1", "'-1' is not a whole number above 0"),
        ("--count", "1.5", "'1.5' is not a whole number above 0"),
        ("--count", "", "'' is not a whole number above 0"),
        ("--count", "\N{SUPERSCRIPT TWO}", "is not a whole number above 0"),
        ("--duration", "nan", "'nan' is not a number of seconds above 0"),
        ("--duration", "inf", "'inf' is not a number of seconds above 0"),
        ("--duration", "0", "'0' is not a number of seconds above 0"),
        ("--duration", "-0.5", "'-0.5' is not a number of seconds above 0"),
        ("--duration", "soon", "'soon' is not a number of seconds above 0"),
        ("--depth", "1", "'1' is not a whole number from 2 to 127"),
        ("--depth", "128", "'128' is not a whole number from 2 to 127"),
        ("--depth", "-3", "'-3' is not a whole number from 2 to 127"),
        ("--ring", "3", "'3' is not a power of two from 1 to 1,024 (MiB)"),
        ("--ring", "2048", "'2048' is not a power of two from 1 to 1,024 (MiB)"),
        ("--ring", "0", "'0' is not a power of two from 1 to 1,024 (MiB)"),
        ("--stack-entries", "many", "'many' is not a whole number from 1 to 1,048,576"),
        pytest.param(
            *("--stack-entries", "4294967296", "4294967296"),
        ),
        ("--verify", "100", "'100' is not of the form 1/N, such as 1/100"),
        ("--verify", "", "'' is not of the form 1/N"),
        ("--verify", "2/3", "'2/3' is not of the form 1/N"),
        ("--verify", "1/", "'1/' is not of the form 1/N"),
        ("--verify", "1/0", "'1/0' is not a whole number from 1 to 1,073,741,824"),
        ("--verify", "1/-5", "'1/-5' is not of the form 1/N"),
        ("--verify", "1/2/3", "'1/2/3' is not of the form 1/N"),
        ("--verify", "0.01", "'0.01' is not of the form 1/N"),
        ("--verify", "1/1073741825", "is not a whole number from 1 to 1,073,741,824"),
        ("--verify", "ip_rcv", "'ip_rcv' is not of the form 1/N"),
        ("--method", "best", "'best' is not one of "),
        ("--attach", "usdt", "'usdt' is not one of "),
        ("--format", "xml", "'xml' is not one of "),
    ],
)
def test_stream_option_with_a_bad_value_is_named(
    usage_error: UsageError, option: str, value: str, complaint: str
) -> None:
    line = usage_error(main, "stream", "ip_rcv", f"{option}={value}")
    assert line.startswith(f"kwalk stream: error: argument {option}: ")
    assert complaint in line


@pytest.mark.parametrize(
    ("word", "choices"),
    [
        ("--depth=128", {"depth": 128}),
        ("--method=best", {"method": "best"}),
        ("--attach=usdt", {"attach": "usdt"}),
        ("--nodes=0", {"nodes": 0}),
        ("--stack-entries=x", {"stack_entries": "x"}),
        ("--freq=10001", {"frequency": 10001}),
        ("--ring=3", {"ring_mib": 3}),
        ("--sample=1/0", {"sample": 0}),
        ("--budget=100%", {"budget": 1.0}),
        ("--from-caller=(", {"from_caller": "("}),
        ("--pid=4294967296", {"pids": [4294967296]}),
    ],
)
def test_library_and_command_line_say_the_same_of_a_value(
    usage_error: UsageError, word: str, choices: Choices
) -> None:
    with pytest.raises(errors.UsageError) as caught:
        probe_options(choices, Output.EVENT)
    fault = re.split(r"(?= is | has )", caught.value.what, maxsplit=1)[1]
    line = usage_error(main, "stream", "ip_rcv", word)
    option, _, value = word.partition("=")
    assert line == f"kwalk stream: error: argument {option}: {value!r}{fault}"


def test_values_at_the_edges_are_taken(parsed: list[argparse.Namespace]) -> None:
    least = ("--count=1", "--duration=0.001", "--depth=2", "--ring=1", "--nodes=1")
    most = ("--depth=127", "--ring=1024", "--stack-entries=1", "--nodes=8388608")
    assert main(["stream", "f", *least]) == 0
    assert main(["stream", "f", "--method=helper", *most]) == 0
    assert (parsed[0].count, parsed[0].duration) == (1, 0.001)
    small, large = (probe_options(trace_options.choices(args), Output.EVENT) for args in parsed)
    assert (small.depth, small.ring_bytes, small.nodes) == (2, 1 << 20, 1)
    assert (large.depth, large.ring_bytes, large.stack_entries) == (127, 1 << 30, 1)
    assert (large.method, large.nodes) == (Method.HELPER, 1 << 23)


def test_defaults_stop_at_nothing_and_let_kwalk_choose(parsed: list[argparse.Namespace]) -> None:
    assert main(["stream", "ip_rcv"]) == main(["count", "ip_rcv"]) == 0
    streamed, counted = parsed
    assert (streamed.functions, streamed.count, streamed.duration) == (["ip_rcv"], None, None)
    assert (counted.functions, counted.duration, counted.interval) == (["ip_rcv"], None, None)
    assert (counted.top, counted.format) == (None, "text")
    for args in parsed:
        assert not args.strict
        assert METHODS[args.method] is None
        chosen = probe_options(trace_options.choices(args), Output.EVENT)
        assert (chosen.method, chosen.attach, chosen.verify) == (None, "auto", 0)
        assert (chosen.nodes, chosen.per) == (limits.NODES.default, Per.NOTHING)


@pytest.mark.parametrize(
    ("cpus", "nodes"), [(1, 1 << 17), (16, 1 << 17), (64, 1 << 19), (4096, 1 << 23)]
)
def test_default_nodes_grow_with_the_cpus(cpus: int, nodes: int) -> None:
    assert limits.nodes_for(cpus) == nodes


@pytest.mark.parametrize("cpus", [1, 64, 8192])
def test_tree_of_the_most_nodes_fits_a_map(cpus: int) -> None:
    # array_map_alloc_check() in kernel/bpf/arraymap.c: a value has at most INT_MAX bytes.
    nodes = values.within(limits.NODES)("8388608")
    assert context_tree.size_for(nodes, cpus) * context_tree.NODE_BYTES < 1 << 31


@pytest.mark.parametrize("output", list(Output))
def test_command_sets_output_and_grouping(parsed: list[argparse.Namespace], output: Output) -> None:
    assert main(["ip_rcv", "--per-pid"]) == 0
    chosen = probe_options(trace_options.choices(parsed[0]), output)
    assert (chosen.output, chosen.per) == (output, Per.PID)


@pytest.mark.parametrize(
    "argv",
    [
        ("ip_rcv",),
        ("ip_rcv", "--top=3", "--per-pid"),
        ("--top", "3", "ip_rcv"),
        ("--method", "manual", "ip_rcv"),
        ("--verify", "ip_rcv"),
        ("--verify", "1/100", "ip_rcv"),
        ("--strict", "--format=folded", "ip_rcv"),
        ("--", "ip_rcv"),
        ("r:ip_rcv",),
        ("ip_rcv+0x1f", "--duration=1"),
    ],
)
def test_function_without_a_command_is_counted(
    parsed: list[argparse.Namespace], argv: tuple[str, ...]
) -> None:
    assert main(argv) == main(["count", *argv]) == 0
    alone, spelt_out = parsed
    assert alone == spelt_out
    assert alone.name == "count"
    assert "ip_rcv" in alone.functions[0]


@pytest.mark.parametrize("argv", [("stream", "ip_rcv"), ("--verify", "stream")])
def test_command_name_alone_is_a_command(
    parsed: list[argparse.Namespace], argv: tuple[str, ...]
) -> None:
    if argv[0] == "stream":
        assert main(argv) == 0
        assert parsed[0].name == "stream"
    else:
        with pytest.raises(SystemExit):
            main(argv)


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ((), "required: COMMAND"),
        (("ip_rcv", "--cuont=1"), "unrecognized arguments: --cuont=1"),
        (("ip_rcv", "--count=1"), "unrecognized arguments: --count=1"),
        (("ip_rcv", "--ring=1"), "unrecognized arguments: --ring=1"),
        (("stream", "ip_rcv", "--top=3"), "unrecognized arguments: --top=3"),
        (("stream", "ip_rcv", "--per-pid"), "unrecognized arguments: --per-pid"),
        (("stream", "ip_rcv", "--format=folded"), "'folded' is not one of "),
        (("stream", "ip_rcv", "--cuont=1"), "unrecognized arguments: --cuont=1"),
    ],
)
def test_wrong_command_line_is_explained(
    usage_error: UsageError, argv: tuple[str, ...], complaint: str
) -> None:
    assert complaint in usage_error(main, *argv)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("report", "x", "--bogus"),
         "kwalk report: error: unrecognized arguments: --bogus; see kwalk report --help"),
        (("--bogus",),
         "kwalk count: error: unrecognized arguments: --bogus; see kwalk count --help"),
        (("ip_rcv", "--dur", "3"),
         "kwalk count: error: unrecognized arguments: --dur 3; see kwalk count --help"),
        (("lab", "run", "--ker=fp", "--", "true"),
         "kwalk lab run: error: unrecognized arguments: --ker=fp; see kwalk lab run --help"),
        (("info", "a", "b"), "kwalk info: error: unrecognized arguments: b; see kwalk info --help"),
        (("--top", "3", "stream", "ip_rcv"),
         "kwalk stream: error: options must follow the command: kwalk stream --top"),
    ],
)  # fmt: skip
def test_unknown_option_is_told_by_its_command(
    usage_error: UsageError, argv: tuple[str, ...], line: str
) -> None:
    assert usage_error(main, *argv) == line


@pytest.mark.parametrize(
    ("argv", "functions"),
    [
        (("--comm", "top", "ip_rcv"), ["ip_rcv"]),
        (("--comm=top", "ip_rcv", "record"), ["ip_rcv", "record"]),
        (("--follow", "--per", "comm", "ip_rcv"), ["ip_rcv"]),
        (("--freq", "99"), []),
        (("--comm", "top"), []),
        (("--strict", "--", "ip_rcv"), ["ip_rcv"]),
    ],
)
def test_option_value_is_not_taken_for_a_command(
    parsed: list[argparse.Namespace], argv: tuple[str, ...], functions: list[str]
) -> None:
    assert main(argv) == 0
    assert (parsed[0].name, parsed[0].functions) == ("count", functions)


def test_published_tool_has_the_options_of_probes(parsed: list[argparse.Namespace]) -> None:
    argv = ["--manual=ip_rcv", "--nodes=5", "--ring=2", "--strict", "--attach=kprobe"]
    assert published.main(argv) == 0
    (args,) = parsed
    chosen = probe_options(published.chosen_by(args), Output.BRIEF)
    assert (chosen.nodes, chosen.ring_bytes, chosen.attach) == (5, 2 << 20, "kprobe")
    assert (chosen.output, chosen.per, args.strict) == (Output.BRIEF, Per.NOTHING, True)


def test_published_tool_takes_exactly_one_method(
    usage_error: UsageError, parsed: list[argparse.Namespace]
) -> None:
    line = usage_error(published.main)
    assert line == (
        "bpf_get_stack_test: error: one of the arguments --helper --manual is required"
    )  # fmt: skip
    line = usage_error(published.main, "--helper", "ip_rcv", "--manual", "ip_rcv")
    assert "argument --manual: not allowed with argument --helper" in line
    assert published.main(["--manual", "ip_rcv"]) == published.main(["--helper", "tcp_ack"]) == 0
    assert [(args.helper, args.manual) for args in parsed] == [(None, "ip_rcv"), ("tcp_ack", None)]


@given(st.integers(1, 1 << 30))
def test_fraction_1_of_n_is_parsed_as_n(number: int) -> None:
    assert values.one_in(f"1/{number}") == number
    assert values.one_in("1") == 1


@pytest.mark.parametrize(
    ("argv", "verify"),
    [
        (("ip_rcv",), 0),
        (("ip_rcv", "--verify"), 1),
        (("--verify", "ip_rcv"), 1),
        (("--verify", "--depth=9", "ip_rcv"), 1),
        (("--verify", "--", "ip_rcv"), 1),
        (("ip_rcv", "--verify=1"), 1),
        (("--verify=1/1", "ip_rcv"), 1),
        (("--verify=1/100", "ip_rcv"), 100),
        (("ip_rcv", "--verify=1/1073741824"), 1 << 30),
        (("ip_rcv", "--verify", "1/100"), 100),
        (("--verify", "1/100", "ip_rcv"), 100),
        (("--verify", "1", "ip_rcv"), 1),
    ],
)
def test_verify_alone_is_every_event_and_takes_no_function_for_its_value(
    parsed: list[argparse.Namespace], argv: tuple[str, ...], verify: int
) -> None:
    assert main(["stream", *argv]) == 0
    own = ["--manual=ip_rcv" if word == "ip_rcv" else word for word in argv if word != "--"]
    assert published.main(own) == 0
    assert parsed[0].functions == [parsed[1].manual] == ["ip_rcv"]
    assert main(argv) == 0
    assert [args.verify for args in parsed] == [verify] * 3


WORDS = st.sampled_from(["--verify", "--verify=1/2", "1/2", "--", "stream", "ip_rcv", "-v", ""])


@pytest.mark.parametrize(
    ("text", "wanted"), [("10-20", (10, 20)), ("0-0.5", (0, 0.5)), ("10-", (10, math.inf))]
)
def test_span_is_parsed_to_two_times(text: str, wanted: tuple[float, float]) -> None:
    assert values.span(text) == wanted


@pytest.mark.parametrize("text", ["10", "10-10", "20-10", "-5", "-1-5", "a-b", "nan-nan", ""])
def test_span_that_is_empty_or_backwards_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not two times in seconds"):
        values.span(text)


@given(st.lists(WORDS.filter(lambda word: word != "--")), st.lists(WORDS))
def test_words_after_two_dashes_are_left_alone(own: list[str], others: list[str]) -> None:
    words = [*own, "--", *others]
    spelt = spell_out(words)
    assert spelt[len(own) :] == ["--", *others]
    assert spelt[: len(own)] == spell_out(own)
    assert spell_out(spelt) == spelt


def test_verify_option_with_a_bad_fraction_is_refused(
    usage_error: UsageError,
) -> None:
    line = usage_error(main, "stream", "--verify", "2/3", "ip_rcv")
    assert "argument --verify: '2/3' is not of the form 1/N" in line


@given(st.lists(WORDS | st.text(max_size=10)))
def test_verify_option_without_a_value_is_spelt_out(words: list[str]) -> None:
    spelt = spell_out(words)
    assert len(spelt) == len(words)
    for before, after in zip(words, spelt, strict=True):
        assert after == before or (before, after) == ("--verify", "--verify=1")


@pytest.mark.parametrize(
    ("words", "chance"),
    [
        ([], None),
        (["--sample", "1/4"], 0.25),
        (["--sample", "1"], None),
        (["--budget", "2%"], FIRST_CHANCE),
    ],
)
def test_calls_are_taken_by_chance_from_the_first_on(
    parsed: list[argparse.Namespace], words: list[str], chance: float | None
) -> None:
    main(["count", "ip_rcv", *words])
    assert probe_options(trace_options.choices(parsed[0]), Output.COUNT).chance == chance
