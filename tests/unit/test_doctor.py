# SPDX-License-Identifier: MIT
"""``kwalk doctor``: a line for each way of attaching, and what follows from all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any

import pytest

from kwalk.abi import Method, Place, Unwinder
from kwalk.errors import NotSupported
from kwalk.kernel import capabilities, features
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.kernel.switches import SwitchedOff
from kwalk.probe import canary
from kwalk.probe import doctor as surveys
from kwalk.probe.canary import Trial
from kwalk.probe.doctor import Survey
from kwalk.probe.selection import Selection
from kwalk.probe.target import Target
from kwalk.report import doctor

SYMBOLS = Kallsyms(b"ffffffff81000100 T ip_rcv\n")
TARGET = Target("__x64_sys_getpgid", 0xFFFFFFFF81000200, "")
ALL = [kind.name for kind in surveys.WAYS]
EVENTS = ["raw tracepoints", "tracepoints by perf", "samples"]
OFF = SwitchedOff("ftrace is off", "Switch it on: now.")


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Survey]:
    """Survey a machine on which these ways fire, and these are attached and not run."""

    def run(
        fires: Collection[str], silent: Collection[str] = (), error: NotSupported = OFF
    ) -> Survey:
        def fire(way: str, place: Place, symbols: Kallsyms, method: Method, then: object) -> Trial:
            (name,) = (kind.name for kind in surveys.WAYS if kind[1:] == (way, place))
            if name not in fires and name not in silent:
                raise error
            probe: Any = SimpleNamespace(
                selection=Selection.one(TARGET),
                attach=way,
                method=method,
                notes=[],
                unwinder=Unwinder.ORC,
            )
            return Trial(probe, 3 * (name in fires), 3)

        monkeypatch.setattr(canary, "fire", fire)
        monkeypatch.setattr(capabilities, "check_access", lambda: None)
        monkeypatch.setattr(features, "check_kernel", lambda symbols: None)
        monkeypatch.setattr(Kallsyms, "read", lambda *_: SYMBOLS)
        return surveys.survey()

    return run


def line(text: str, name: str) -> str:
    (found,) = (row for row in text.splitlines() if row.startswith(f"{name} "))
    return " ".join(found.split())


def test_way_whose_canary_fires_works(look: Callable[..., Survey]) -> None:
    found = look(ALL)
    assert (found.exit_code, found.method, found.attach) == (0, "manual", "fentry")
    text = doctor.as_text(found, 200)
    for name in ALL:
        assert line(text, name) == f"{name} ok works: fired 3 of 3 times on __x64_sys_getpgid"
    assert text.endswith("\nkwalk will use: manual by fentry\n")


def test_attached_and_not_run_is_no_way(look: Callable[..., Survey]) -> None:
    found = look(EVENTS, silent=[name for name in ALL if name not in EVENTS])
    assert (found.exit_code, found.method, found.others) == (3, "", EVENTS)
    text = doctor.as_text(found, 200)
    assert "no attaches, but does not run: fired 0 of 3 times" in line(text, "entry by fentry")
    assert f"only: {', '.join(EVENTS)}" in text
    assert "will use" not in text


def test_way_that_fires_now_and_then_does_not_work(
    look: Callable[..., Survey], monkeypatch: pytest.MonkeyPatch
) -> None:
    look(ALL)
    fire = canary.fire

    def missing_one(way: str, *args: Any, **keywords: Any) -> Trial:
        trial = fire(way, *args, **keywords)
        return trial if way == "kprobe" else trial._replace(fired=2)

    monkeypatch.setattr(canary, "fire", missing_one)
    found = surveys.survey()
    assert (found.exit_code, found.attach) == (0, "kprobe")
    assert [way.name for way in found.ways if way.works] == ["entry by kprobe", "inside by kprobe"]
    text = doctor.as_text(found, 200)
    assert "no attaches, but does not run: fired 2 of 3 times" in line(text, "entry by fentry")


@pytest.mark.parametrize(
    ("fires", "code", "attach"),
    [
        (["entry by kprobe"], 0, "kprobe"),
        (["entry by kprobe.multi", "samples"], 0, "kprobe.multi"),
        (["samples"], 3, ""),
        (["inside by kprobe"], 3, ""),
        ([], 1, ""),
    ],
)
def test_verdict_is_of_what_works(
    look: Callable[..., Survey], fires: list[str], code: int, attach: str
) -> None:
    found = look(fires)
    assert (found.exit_code, found.attach) == (code, attach)
    data = json.loads(doctor.as_json(found))
    assert [way["name"] for way in data["ways"] if way["works"]] == fires
    text = doctor.as_text(found, 200)
    assert ("cannot trace on this machine" in text) == (not fires)


def test_only_ways_that_would_have_been_preferred_have_a_reason(
    look: Callable[..., Survey],
) -> None:
    """That a kernel has no fentry.multi is in the list of ways; nothing is worse for it."""
    assert look(["entry by fentry"]).reasons == []
    reasons = look(["entry by fentry.multi"]).reasons
    assert [reason.partition(":")[0] for reason in reasons] == ["not by fentry", "not by kprobe"]


def test_way_that_is_switched_off_says_what_to_do(look: Callable[..., Survey]) -> None:
    text = doctor.as_text(look(["samples"]), 200)
    assert line(text, "return by fexit") == "return by fexit no ftrace is off. Switch it on: now."


def test_doctor_tries_nothing_without_the_capabilities(
    look: Callable[..., Survey], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise NotSupported("tracing needs CAP_BPF", "Run it as root.")

    look(ALL)
    monkeypatch.setattr(capabilities, "check_access", refuse)
    found = surveys.survey()
    assert found.exit_code == 1
    assert [way.text for way in found.ways] == ["not tried: tracing needs CAP_BPF"] * len(ALL)


@pytest.mark.parametrize(
    ("by_kprobe", "why", "expected"),
    [
        (True, None, (None, "lost: the kernel refuses them to every program at a kprobe")),
        (False, None, (None, "lost: a second program for them takes the manual method")),
        (False, "", (True, "taken by a second program")),
        (False, "no room", (None, "lost: no room")),
    ],
)
def test_nested_hits_are_tried_where_they_can_be_taken(
    by_kprobe: bool, why: str | None, expected: tuple[bool | None, str]
) -> None:
    nested = None if why is None else SimpleNamespace(trial=lambda: why)
    probe: Any = SimpleNamespace(by_kprobe=by_kprobe, nested=nested)
    assert surveys._nested(probe) == expected
