# SPDX-License-Identifier: MIT
"""Values that make no sense are refused before anything is attached, in one clear line."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from kwalk.cli import main
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
