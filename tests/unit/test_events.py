# SPDX-License-Identifier: MIT
"""Tracepoints are found in tracefs; where that may not be read, among the kernel's symbols."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from kwalk.abi import Place
from kwalk.errors import UsageError
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe import events

SYMBOLS = Kallsyms(
    b"ffffffff81000000 T __traceiter_sched_switch\nffffffffc0000000 T __traceiter_inner\t[module]\n"
)


@pytest.fixture
def tracefs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whose only event is one that no symbol tells of."""
    (tmp_path / "net/net_dev_xmit").mkdir(parents=True)
    (tmp_path / "net/net_dev_xmit/enable").write_text("0\n")
    monkeypatch.setattr(events, "EVENTS", tmp_path)
    return tmp_path


def found(spelling: str) -> str:
    selection = events.tracepoint(spelling, SYMBOLS)
    assert selection.place == Place.TRACEPOINT
    return selection.targets[0].name


def test_readable_tracefs_decides_which_tracepoints_exist(tracefs: Path) -> None:
    assert found("t:net:net_dev_xmit") == "net:net_dev_xmit"
    with pytest.raises(UsageError, match="no tracepoint sched:sched_switch"):
        found("t:sched:sched_switch")
    with pytest.raises(UsageError, match="Did you mean t:net:net_dev_xmit"):
        found("t:net:net_dev_xmi")


def deny(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(number, "as errno says")

    monkeypatch.setattr("kwalk.kernel.capabilities.os.open", refuse)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENODEV])
def test_symbols_decide_where_tracefs_is_unreadable(
    tracefs: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    deny(monkeypatch, number)
    assert found("t:sched:sched_switch") == "sched:sched_switch"
    assert found("t:any:inner") == "any:inner"
    # They have a way of their own, and attaching says what it lacks.
    assert found("t:syscalls:sys_enter_read") == "syscalls:sys_enter_read"
    with pytest.raises(
        UsageError, match="neither this kernel nor a loaded module has a tracepoint nosuch"
    ):
        found("t:sched:nosuch")


def test_unreadable_part_of_tracefs_is_not_taken_for_absent(
    tracefs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    assert found("t:net:anything") == "net:anything"
