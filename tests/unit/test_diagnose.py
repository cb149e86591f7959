# SPDX-License-Identifier: MIT
"""Why a function that exists was not attached to: its own fault, the machine's, or kwalk's."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from kwalk.abi import Place
from kwalk.arch import ARCHITECTURES
from kwalk.errors import KwalkError, NotSupported, UsageError
from kwalk.kernel import capabilities, features
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.kernel.shortage import Shortage
from kwalk.libbpf import LibbpfError
from kwalk.probe import diagnose
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
        monkeypatch.setattr(features if name == "KPROBE_PMU" else diagnose, name, tmp_path / name)
    # Root's, of the first user namespace.
    (tmp_path / "STATUS").write_text("CapEff:\t000001ffffffffff\n")
    (tmp_path / "UID_MAP").write_text("         0          0 4294967295\n")
    (tmp_path / "PARANOID").write_text("3\n")
    for name in ("STATUS", "UID_MAP", "PARANOID"):
        monkeypatch.setattr(capabilities, name, tmp_path / name)
    # As a kernel does with Debian's patch: this machine's own is not asked.
    monkeypatch.setattr(
        diagnose,
        "refuses_all",
        lambda: capabilities.lacks("CAP_SYS_ADMIN") and capabilities.paranoid() > 2,
    )
    return tmp_path


def failed(number: int, log: str = "") -> LibbpfError:
    return LibbpfError("cannot attach to ip_rcv", number, log)


def test_blacklisted_and_notrace_functions_are_usage_errors(machine: Path) -> None:
    (machine / "BLACKLIST").write_text("0xffffffff81000000-0xffffffff81000010\tip_rcv\n")
    error = diagnose.explain(Selection.one(TARGET), [("kprobe", failed(errno.EINVAL))])
    assert isinstance(error, UsageError)
    assert error.what.startswith(
        "ip_rcv cannot be traced by kprobe: cannot attach to ip_rcv: Invalid argument (errno 22); "
        "it is on the kernel's kprobe blacklist"
    )
    (machine / "BLACKLIST").unlink()
    (machine / "FILTER_FUNCTIONS").write_text("ip_rcv_core\nip_rcv_finish [dummy]\n")
    error = diagnose.explain(Selection.one(TARGET), [("fentry", failed(errno.EINVAL))])
    assert isinstance(error, UsageError)
    assert "notrace" in error.what
    assert "one of its callers" in error.hint


def test_alias_in_a_list_of_the_kernels_counts_as_the_function_itself(machine: Path) -> None:
    (machine / "FILTER_FUNCTIONS").write_text("__do_ip_rcv\n")
    one, tried = Selection.one(TARGET), [("fentry", failed(errno.EINVAL))]
    names = ["ip_rcv", "__do_ip_rcv"]
    assert "notrace" in diagnose.explain(one, tried).what
    assert "notrace" not in diagnose.explain(one, tried, names).what
    (machine / "BLACKLIST").write_text("0xffffffff81000000-0xffffffff81000010\t__do_ip_rcv\n")
    tried = [("kprobe", failed(errno.EINVAL))]
    assert "kprobe blacklist" not in diagnose.explain(one, tried).what
    assert "kprobe blacklist" in diagnose.explain(one, tried, names).what


def test_refusal_gives_the_reason_of_each_way() -> None:
    tried = [("fentry", failed(errno.EPERM)), ("kprobe", failed(errno.ENOENT))]
    error = diagnose.explain(Selection.one(TARGET), tried)
    assert isinstance(error, NotSupported)
    assert (
        "by fentry: cannot attach to ip_rcv: Operation not permitted (errno 1): a policy of this "
        "machine (lockdown, LSM, seccomp) may forbid it, even to root; by kprobe"
    ) in error.what
    assert "; by kprobe: cannot attach to ip_rcv: No such file or directory" in error.what


def test_verifier_log_is_shown_from_its_end() -> None:
    log = "".join(f"line {number}\n" for number in range(30))
    error = diagnose.explain(Selection.one(TARGET), [("fentry", failed(errno.EACCES, log))])
    assert type(error) is KwalkError
    assert "Permission denied" in error.what
    shown = [line for line in error.hint.splitlines() if line.startswith("  | ")]
    assert shown == [f"  | line {number}" for number in range(18, 30)]


def test_verifier_log_is_not_shown_for_eperm() -> None:
    error = diagnose.explain(Selection.one(TARGET), [("fentry", failed(errno.EPERM, "line 1\n"))])
    assert isinstance(error, NotSupported)
    assert "line 1" not in str(error)


def test_files_that_cannot_be_read_decide_nothing(machine: Path) -> None:
    (machine / "BLACKLIST").unlink()
    (machine / "FILTER_FUNCTIONS").unlink()
    error = diagnose.explain(Selection.one(TARGET), [("kprobe", failed(errno.EBUSY))])
    assert isinstance(error, NotSupported)
    assert error.what.endswith("Device or resource busy (errno 16)")
    assert (
        f"{machine / 'FILTER_FUNCTIONS'} could not be read (No such file or directory): whether it "
        "has ip_rcv is unknown."
    ) in error.hint


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EOPNOTSUPP, errno.EACCES])
def test_lists_are_read_only_for_errors_about_the_function(machine: Path, number: int) -> None:
    (machine / "BLACKLIST").write_text("0xffffffff81000000-0xffffffff81000010\tip_rcv\n")
    (machine / "FILTER_FUNCTIONS").write_text("another\n")
    tried = [("fentry", failed(number)), ("kprobe", failed(number))]
    error = diagnose.explain(Selection.one(TARGET), tried)
    assert isinstance(error, NotSupported)
    assert "blacklist" not in str(error)
    assert "notrace" not in str(error)
    assert os.strerror(number) in error.what


def test_unreadable_list_says_nothing_of_the_function(machine: Path) -> None:
    (machine / "FILTER_FUNCTIONS").unlink()
    (machine / "FILTER_FUNCTIONS").symlink_to("FILTER_FUNCTIONS")  # ELOOP, whoever reads it
    error = diagnose.explain(Selection.one(TARGET), [("fentry", failed(errno.EINVAL))])
    assert isinstance(error, NotSupported)
    assert "Invalid argument" in error.what
    assert "notrace" not in str(error)
    assert "could not be read (Too many levels of symbolic links)" in error.hint


def test_ftrace_that_was_shut_down_is_named_where_its_files_say_so(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = [("fentry", failed(errno.ENODEV)), ("kprobe", failed(errno.ENODEV))]
    error = diagnose.explain(Selection.one(TARGET), tried)
    assert "shut ftrace down" not in str(error)
    # As ftrace_avail_open() answers then: no file of a file system does.
    with monkeypatch.context() as patched:
        patched.setattr(capabilities, "unreadable", lambda path: os.strerror(errno.ENODEV))
        error = diagnose.explain(Selection.one(TARGET), tried)
    assert isinstance(error, NotSupported)
    assert error.what.startswith("ip_rcv cannot be traced by fentry: cannot attach to ip_rcv: No ")
    assert "the kernel has shut ftrace down until the next boot" in error.what
    assert "dmesg" in error.hint


def test_tracepoint_is_not_looked_for_among_functions(machine: Path) -> None:
    (machine / "FILTER_FUNCTIONS").write_text("another\n")
    selection = Selection.one(Target("sched:sched_switch", 0, "", event=Place.TRACEPOINT))
    tried = [("raw_tp", failed(errno.EINVAL)), ("tracepoint", failed(errno.ENOENT))]
    error = diagnose.explain(selection, tried)
    assert isinstance(error, NotSupported)
    assert "notrace" not in str(error)


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "ENOMEM"])
def test_limit_of_the_machine_is_named_with_its_value(name: str) -> None:
    tried = [("fentry", failed(errno.EINVAL)), ("kprobe", failed(getattr(errno, name)))]
    error = diagnose.explain(Selection.one(TARGET), tried)
    assert isinstance(error, Shortage)
    assert os.strerror(getattr(errno, name)) in error.what
    sign = {"EMFILE": "RLIMIT_NOFILE", "ENFILE": "fs.file-max", "ENOMEM": " MiB of the machine's"}
    assert sign[name] in error.hint
    assert re.search(r"\d", error.hint)


def test_truncated_verifier_log_is_no_shortage() -> None:
    error = diagnose.explain(Selection.one(TARGET), [("kprobe", failed(errno.ENOSPC, "line 1\n"))])
    assert type(error) is KwalkError
    assert "line 1" in error.hint


@pytest.mark.parametrize(
    ("way", "sign"), [("fentry", "38 programs"), ("fexit", "38"), ("tracepoint", "64 programs")]
)
def test_full_attach_point_names_its_limit_of_programs(way: str, sign: str) -> None:
    error = diagnose.explain(Selection.one(TARGET), [(way, failed(errno.E2BIG))])
    assert "Argument list too long" in error.what
    assert sign in error.what
    error = diagnose.explain(Selection.one(TARGET), [(way, failed(errno.E2BIG, "too many insns"))])
    assert sign not in error.what


def test_errno_of_the_kernels_own_has_words() -> None:
    error = diagnose.explain(Selection.one(TARGET), [("fentry", failed(524))])
    assert "Operation is not supported (errno 524)" in error.what


def denied(effective: int, way: str, number: int = errno.EACCES) -> str:
    (capabilities.STATUS).write_text(f"CapEff:\t{effective:016x}\n")
    error = diagnose.explain(Selection.one(TARGET), [(way, failed(number))])
    assert isinstance(error, NotSupported)
    return error.what


BPF, PERFMON, SYSLOG, ADMIN = 1 << 39, 1 << 38, 1 << 34, 1 << 21


def test_denied_attach_names_the_missing_capability() -> None:
    enough = BPF | PERFMON | SYSLOG
    assert "this process lacks CAP_PERFMON" in denied(BPF | SYSLOG, "kprobe")
    assert "kernel.perf_event_paranoid is 3, which leaves perf events to CAP_SYS_ADMIN" in denied(
        enough, "kprobe"
    )
    assert "CAP_SYS_ADMIN" not in denied(enough, "fentry")  # which is no perf event
    capabilities.PARANOID.write_text("2\n")
    for held in (enough, enough | ADMIN):
        assert "may forbid it, even to root" in denied(held, "kprobe")


def test_paranoid_sysctl_is_no_reason_without_the_debian_patch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diagnose, "refuses_all", lambda: False)
    told = denied(BPF | PERFMON | SYSLOG, "kprobe")
    assert "perf_event_paranoid" not in told
    assert "a policy of this machine" in told


def test_capabilities_of_a_user_namespace_are_told_from_the_machines() -> None:
    capabilities.UID_MAP.write_text("         0       1000          1\n")
    assert "has its capabilities in a user namespace" in denied(-1 & (1 << 41) - 1, "fentry", 1)


def test_offset_inside_an_instruction_is_a_usage_error() -> None:
    error = diagnose.explain(Selection.one(INSIDE), [("kprobe", failed(errno.EILSEQ))])
    assert isinstance(error, UsageError)
    assert "cannot be traced by kprobe: " in error.what
    assert "(errno 84): no instruction begins there" in error.what
    assert "objdump" in error.hint


def test_offset_inside_an_instruction_is_a_usage_error_on_arm64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diagnose, "here", lambda: ARCHITECTURES["aarch64"])
    error = diagnose.explain(Selection.one(INSIDE), [("kprobe", failed(errno.EINVAL))])
    assert isinstance(error, UsageError)
    assert "(errno 22): no instruction begins there" in error.what
    error = diagnose.explain(Selection.one(TARGET), [("kprobe", failed(errno.EINVAL))])
    assert "no instruction begins there" not in error.what


@pytest.mark.parametrize(
    ("target", "number"), [(TARGET, errno.EILSEQ), (RETURN, errno.EILSEQ), (INSIDE, errno.EINVAL)]
)
def test_eilseq_without_an_offset_is_not_the_place(target: Target, number: int) -> None:
    error = diagnose.explain(Selection.one(target), [("kprobe", failed(number))])
    assert isinstance(error, NotSupported)
    assert "no instruction begins there" not in error.what


@pytest.mark.parametrize("target", [INSIDE, RETURN], ids=["inside", "return"])
def test_blacklist_is_named_before_the_offset(machine: Path, target: Target) -> None:
    (machine / "BLACKLIST").write_text("0xffffffff81000000-0xffffffff81000010\tip_rcv\n")
    way = "kretprobe" if target.returns else "kprobe"
    error = diagnose.explain(Selection.one(target), [(way, failed(errno.EILSEQ))])
    assert isinstance(error, UsageError)
    assert "it is on the kernel's kprobe blacklist" in error.what
    assert "no instruction begins there" not in error.what


@pytest.mark.parametrize(
    ("target", "way", "label"),
    [(INSIDE, "kprobe", "ip_rcv+0x1f"), (RETURN, "kretprobe", "r:ip_rcv")],
)
def test_refusal_names_the_place_as_it_was_spelt(target: Target, way: str, label: str) -> None:
    for log in ("", "line 1\n"):
        error = diagnose.explain(Selection.one(target), [(way, failed(errno.EACCES, log))])
        assert error.what.startswith(f"{label} cannot be traced by {way}: ")


def test_missing_kprobes_are_told_from_a_missing_sysfs(machine: Path) -> None:
    without = Kallsyms(b"ffffffff81000000 T _stext\n")
    with_ = Kallsyms(b"ffffffff81000000 T register_kprobe\nffffffff81000010 T perf_kprobe_init\n")
    half = Kallsyms(b"ffffffff81000000 T register_kprobe\n")
    assert features.no_kprobes(without) == ""
    (machine / "KPROBE_PMU").unlink()
    assert features.no_kprobes(without) == "this kernel has no kprobes (CONFIG_KPROBES)"
    assert "CONFIG_KPROBE_EVENTS" in features.no_kprobes(half)
    assert "cannot be read (No such file or directory): sysfs" in features.no_kprobes(with_)
