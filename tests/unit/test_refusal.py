# SPDX-License-Identifier: MIT
"""Why a function that exists was not attached to: its own fault, the machine's, or kwalk's."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from kwalk.errors import KwalkError, NotSupported, UsageError
from kwalk.libbpf import LibbpfError
from kwalk.probe import refusal
from kwalk.probe.selection import Selection
from kwalk.probe.target import Target

TARGET = Target("ip_rcv", 0xFFFFFFFF81000000, "")
INSIDE = TARGET._replace(offset=0x1F)
RETURN = TARGET._replace(returns=True)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with kprobes, on which ip_rcv could be traced."""
    files = {
        "KPROBE_PMU": "8\n",
        "BLACKLIST": "0xffffffff81000010-0xffffffff81000020\tip_rcv_core\n0x10-0x20\t__ip_rcv\n",
        "FILTER_FUNCTIONS": "ip_rcv_core\nip_rcv\nip_rcv_finish [dummy]\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(refusal, name, tmp_path / name)
    return tmp_path


def failed(number: int, log: str = "") -> LibbpfError:
    return LibbpfError("cannot attach to ip_rcv", number, log)


def test_a_function_that_nobody_may_trace_is_the_users_choice_to_change(machine: Path) -> None:
    (machine / "BLACKLIST").write_text("0xffffffff81000000-0xffffffff81000010\tip_rcv\n")
    error = refusal.explain(Selection.one(TARGET), [("kprobe", failed(errno.EINVAL))])
    assert isinstance(error, UsageError)
    assert "ip_rcv cannot be traced: it is on the kernel's kprobe blacklist" in error.what
    (machine / "BLACKLIST").unlink()
    (machine / "FILTER_FUNCTIONS").write_text("ip_rcv_core\nip_rcv_finish [dummy]\n")
    error = refusal.explain(Selection.one(TARGET), [("fentry", failed(errno.EINVAL))])
    assert isinstance(error, UsageError)
    assert "notrace" in error.what
    assert "one of its callers" in error.hint


def test_a_machine_without_kprobes_is_named_as_the_reason(machine: Path) -> None:
    (machine / "KPROBE_PMU").unlink()
    error = refusal.explain(Selection.one(TARGET), [("kprobe", failed(errno.ENOENT))])
    assert isinstance(error, NotSupported)
    assert error.exit_code == 1
    assert "by kprobe: this kernel has no kprobes" in error.what
    assert "kwalk lab" in error.hint


def test_each_way_that_was_tried_has_its_reason() -> None:
    tried = [("fentry", failed(errno.EPERM)), ("kprobe", failed(errno.ENOENT))]
    error = refusal.explain(Selection.one(TARGET), tried)
    assert isinstance(error, NotSupported)
    assert "by fentry: the kernel does not permit such a program" in error.what
    assert "; by kprobe: cannot attach to ip_rcv: No such file or directory" in error.what


def test_a_refused_program_shows_the_end_of_the_verifiers_log() -> None:
    log = "".join(f"line {number}\n" for number in range(30))
    error = refusal.explain(Selection.one(TARGET), [("fentry", failed(errno.EACCES, log))])
    assert type(error) is KwalkError
    assert "Permission denied" in error.what
    shown = [line for line in error.hint.splitlines() if line.startswith("  | ")]
    assert shown == [f"  | line {number}" for number in range(18, 30)]


def test_a_policy_of_the_machine_is_no_matter_for_a_log() -> None:
    error = refusal.explain(Selection.one(TARGET), [("fentry", failed(errno.EPERM, "line 1\n"))])
    assert isinstance(error, NotSupported)
    assert "line 1" not in str(error)


def test_a_machine_without_kprobes_shows_no_log_either(machine: Path) -> None:
    (machine / "KPROBE_PMU").unlink()
    error = refusal.explain(Selection.one(TARGET), [("kprobe", failed(errno.E2BIG, "line 1\n"))])
    assert isinstance(error, NotSupported)
    assert "line 1" not in str(error)


def test_files_that_cannot_be_read_decide_nothing(machine: Path) -> None:
    (machine / "BLACKLIST").unlink()
    (machine / "FILTER_FUNCTIONS").unlink()
    error = refusal.explain(Selection.one(TARGET), [("kprobe", failed(errno.EBUSY))])
    assert isinstance(error, NotSupported)
    assert "Device or resource busy" in error.what


def test_a_place_that_no_instruction_begins_at_is_the_users_choice_to_change() -> None:
    error = refusal.explain(Selection.one(INSIDE), [("kprobe", failed(errno.EILSEQ))])
    assert isinstance(error, UsageError)
    assert error.what.startswith("no kprobe can be put at ip_rcv+0x1f: no instruction begins there")
    assert "objdump" in error.hint


@pytest.mark.parametrize(
    ("target", "number"), [(TARGET, errno.EILSEQ), (RETURN, errno.EILSEQ), (INSIDE, errno.EINVAL)]
)
def test_other_failures_are_no_matter_of_the_place(target: Target, number: int) -> None:
    error = refusal.explain(Selection.one(target), [("kprobe", failed(number))])
    assert isinstance(error, NotSupported)
    assert "no instruction begins there" not in error.what


@pytest.mark.parametrize("target", [INSIDE, RETURN], ids=["inside", "return"])
def test_why_a_function_cannot_be_traced_comes_before_why_its_place_cannot(
    machine: Path, target: Target
) -> None:
    (machine / "BLACKLIST").write_text("0xffffffff81000000-0xffffffff81000010\tip_rcv\n")
    way = "kretprobe" if target.returns else "kprobe"
    error = refusal.explain(Selection.one(target), [(way, failed(errno.EILSEQ))])
    assert isinstance(error, UsageError)
    assert error.what.startswith("ip_rcv cannot be traced: it is on the kernel's kprobe blacklist")


@pytest.mark.parametrize(
    ("target", "way", "label"),
    [(INSIDE, "kprobe", "ip_rcv+0x1f"), (RETURN, "kretprobe", "r:ip_rcv")],
)
def test_a_refusal_names_the_place_as_the_user_does(target: Target, way: str, label: str) -> None:
    for log in ("", "line 1\n"):
        error = refusal.explain(Selection.one(target), [(way, failed(errno.EACCES, log))])
        assert error.what.startswith(f"{label} cannot be traced by {way}: ")


def test_a_machine_without_kprobes_has_no_kretprobes_either(machine: Path) -> None:
    (machine / "KPROBE_PMU").unlink()
    error = refusal.explain(
        Selection.one(RETURN), [("kretprobe", failed(errno.ENOENT, "line 1\n"))]
    )
    assert isinstance(error, NotSupported)
    assert "by kretprobe: this kernel has no kprobes" in error.what
