# SPDX-License-Identifier: MIT
"""Values that make no sense are refused before anything is attached, in one clear line."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.cli import main, spell_out
from kwalk.commands import options, published, stream
from kwalk.transport.abi import Method

UsageError = Callable[..., str]


@pytest.fixture(autouse=True)
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[argparse.Namespace]:
    """Nothing is traced here; this is what would have been run."""
    seen: list[argparse.Namespace] = []
    monkeypatch.setattr(stream.command, "run", lambda args: seen.append(args) or 0)
    monkeypatch.setattr(published, "_run", lambda args: seen.append(args) or 0)
    return seen


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
        ("--depth", "1", "1 is not from 2 to 127"),
        ("--depth", "128", "128 is not from 2 to 127"),
        ("--depth", "-3", "'-3' is not a whole number above 0"),
        ("--ring", "3", "3 is not a power of two from 1 to 1024 (MiB)"),
        ("--ring", "2048", "2048 is not a power of two from 1 to 1024 (MiB)"),
        ("--ring", "0", "'0' is not a whole number above 0"),
        ("--stack-entries", "many", "'many' is not a whole number above 0"),
        pytest.param(
            *("--stack-entries", "4294967296", "4294967296"),
        ),
        ("--verify", "100", "'100' is not of the form 1/N, such as 1/100"),
        ("--verify", "", "'' is not of the form 1/N"),
        ("--verify", "2/3", "'2/3' is not of the form 1/N"),
        ("--verify", "1/", "'1/' is not of the form 1/N"),
        ("--verify", "1/0", "'1/0' is not of the form 1/N"),
        ("--verify", "1/-5", "'1/-5' is not of the form 1/N"),
        ("--verify", "1/2/3", "'1/2/3' is not of the form 1/N"),
        ("--verify", "0.01", "'0.01' is not of the form 1/N"),
        ("--verify", "1/1073741825", "'1/1073741825' is not of the form 1/N"),
        ("--verify", "ip_rcv", "'ip_rcv' is not of the form 1/N"),
        ("--method", "best", "invalid choice: 'best'"),
        ("--attach", "usdt", "invalid choice: 'usdt'"),
        ("--format", "xml", "invalid choice: 'xml'"),
    ],
)
def test_a_bad_value_is_named_with_its_option(
    usage_error: UsageError, option: str, value: str, complaint: str
) -> None:
    line = usage_error(main, "stream", "ip_rcv", f"{option}={value}")
    assert line.startswith(f"kwalk stream: error: argument {option}: ")
    assert complaint in line


def test_values_at_the_edges_are_taken(parsed: list[argparse.Namespace]) -> None:
    assert main(["stream", "f", "--count=1", "--duration=0.001", "--depth=2", "--ring=1"]) == 0
    assert main(["stream", "f", "--depth=127", "--ring=1024", "--stack-entries=1"]) == 0
    least, most = parsed
    assert (least.count, least.duration) == (1, 0.001)
    assert options.probe_options(least, None).depth == 2
    assert options.probe_options(least, None).ring_bytes == 1 << 20
    taken = options.probe_options(most, Method.HELPER)
    assert (taken.depth, taken.ring_bytes, taken.stack_entries) == (127, 1 << 30, 1)
    assert taken.method == Method.HELPER


def test_defaults_stop_at_nothing_and_let_kwalk_choose(parsed: list[argparse.Namespace]) -> None:
    assert main(["stream", "ip_rcv"]) == 0
    (args,) = parsed
    assert (args.function, args.count, args.duration) == ("ip_rcv", None, None)
    assert options.METHODS[args.method] is None
    assert options.probe_options(args, None).attach == "auto"
    assert options.probe_options(args, None).verify == 0


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ((), "required: COMMAND"),
        (("strean", "ip_rcv"), "invalid choice: 'strean'"),
        (("stream",), "required: FUNC"),
        (("stream", "ip_rcv", "tcp_ack"), "unrecognized arguments: tcp_ack"),
        (("stream", "ip_rcv", "--cuont=1"), "unrecognized arguments: --cuont=1"),
    ],
)
def test_a_wrong_command_line_is_explained(
    usage_error: UsageError, argv: tuple[str, ...], complaint: str
) -> None:
    assert complaint in usage_error(main, *argv)


def test_the_published_tool_takes_exactly_one_way_to_find_stacks(
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
def test_one_in_n_is_n(number: int) -> None:
    assert options.one_in(f"1/{number}") == number
    assert options.one_in("1") == 1


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
    assert parsed[0].function == parsed[1].manual == "ip_rcv"
    assert [options.probe_options(args, None).verify for args in parsed] == [verify, verify]


WORDS = st.sampled_from(["--verify", "--verify=1/2", "1/2", "--", "stream", "ip_rcv", "-v", ""])


@given(st.lists(WORDS.filter(lambda word: word != "--")), st.lists(WORDS))
def test_what_follows_two_dashes_is_left_alone(own: list[str], others: list[str]) -> None:
    words = [*own, "--", *others]
    spelt = spell_out(words)
    assert spelt[len(own) :] == ["--", *others]
    assert spelt[: len(own)] == spell_out(own)
    assert spell_out(spelt) == spelt


def test_a_value_of_verify_that_makes_no_sense_is_not_taken_for_the_function(
    usage_error: UsageError,
) -> None:
    line = usage_error(main, "stream", "--verify", "2/3", "ip_rcv")
    assert "argument --verify: '2/3' is not of the form 1/N" in line


@given(st.lists(WORDS | st.text(max_size=10)))
def test_only_verify_alone_is_spelt_out(words: list[str]) -> None:
    spelt = spell_out(words)
    assert len(spelt) == len(words)
    for before, after in zip(words, spelt, strict=True):
        assert after == before or (before, after) == ("--verify", "--verify=1")
