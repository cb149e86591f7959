# SPDX-License-Identifier: MIT
"""Users other than root: each way of tracing works with few capabilities, or names those missing.

The results fill docs/capabilities.md. User nobody follows kwalk's messages: start without any
capability, take those that the refusal names, and try again. Then each must be needed.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import resource
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import VENV, call, only_on
from machine import HERE

from kwalk.abi import Method
from kwalk.arch import here
from kwalk.kernel import capabilities
from kwalk.kernel.features import no_fentry
from kwalk.kernel.kallsyms import PATH, Kallsyms
from kwalk.options.probe import ProbeOptions
from kwalk.probe.attach_multi import lacks_multi
from kwalk.probe.events import choose
from kwalk.probe.open import open_probe

ON_THE_PAGE = pytest.mark.skipif(
    os.environ.get("KWALK_LAB") == "fp", reason="docs/capabilities.md has distributions' kernels"
)
NOBODY = 65534
BITS = capabilities.CAPABILITIES
THREE = ("CAP_SYSLOG", "CAP_PERFMON", "CAP_BPF")
# include/uapi/linux/prctl.h, capability.h
_KEEP, _DUMPABLE, _VERSION_3 = 8, 4, 0x20080522
_NEW_USERS = 0x10000000  # CLONE_NEWUSER in include/uapi/linux/sched.h
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
PARANOID, KPTR = capabilities.PARANOID, capabilities.KPTR
SHORT = ("--duration", "0.05", "--format", "folded")
# Modular, if at all, on each kernel of the lab.
MODULE, FUNCTION = "overlay", "ovl_lookup"


class Row(NamedTuple):
    """A row of the table: a command line, and the sysctls to try it under."""

    words: tuple[str, ...]
    paranoid: int = 2
    kptr: int = 1


def count(*words: str, attach: str = "auto") -> tuple[str, ...]:
    """Count by the helper, whose program the verifier checks faster."""
    return ("count", *words, "--method", "helper", "--attach", attach, *SHORT)


def many(*words: str) -> tuple[str, ...]:
    """Count by fentry.multi, which the helper does not take."""
    return ("count", *words, "--attach", "fentry.multi", *SHORT)


_AT_3 = ", kernel.perf_event_paranoid 3"
_KPROBE = count("vfs_read", attach="kprobe")
_SYSCALL, _SAMPLES = count("t:syscalls:sys_enter_read"), count("--freq", "99")
ROWS = {
    "function (fentry)": Row(("count", "vfs_read", "--attach", "fentry", *SHORT), 3),
    "function (fentry), kernel.perf_event_paranoid 1, kernel.kptr_restrict 0": Row(
        count("vfs_read", attach="fentry"), 1, 0
    ),
    "return (fexit)": Row(count("r:vfs_read", attach="fentry")),
    "function of a module (fentry)": Row(count(f"{MODULE}:{FUNCTION}", attach="fentry")),
    "function (kprobe)": Row(_KPROBE),
    f"function (kprobe){_AT_3}": Row(_KPROBE, 3),
    "return (kretprobe)": Row(count("r:vfs_read", attach="kprobe")),
    "inside a function (kprobe)": Row(count(f"vfs_read+{HERE.behind_ftrace:#x}")),
    "function of a module (kprobe)": Row(count(f"{MODULE}:{FUNCTION}", attach="kprobe")),
    "functions (fentry.multi)": Row(many("vfs_read", "vfs_write"), 3),
    "returns (fexit.multi)": Row(many("r:vfs_read", "r:vfs_write"), 3),
    "functions (kprobe.multi)": Row(count("vfs_read", "vfs_write", attach="kprobe.multi"), 3),
    "returns (kretprobe.multi)": Row(count("r:vfs_read", "r:vfs_write", attach="kprobe.multi"), 3),
    "tracepoint": Row(count("t:sched:sched_switch"), 3),
    "tracepoint of a system call": Row(_SYSCALL),
    f"tracepoint of a system call{_AT_3}": Row(_SYSCALL, 3),
    "samples": Row(_SAMPLES),
    f"samples{_AT_3}": Row(_SAMPLES, 3),
    "`--verify`, `--follow`": Row(
        ("count", "vfs_read", "--verify", "--follow", "--pid", str(os.getpid()), *SHORT), 3
    ),
    "`kwalk record`": Row(("record", "vfs_read", "-o", "/dev/null", "--duration", "0.05"), 3),
    "`kwalk compare`": Row(("compare", "vfs_read", "--duration", "0.3"), 3),
    "`kwalk functions`": Row(("functions", "vfs_rea*"), 3),
}
# A way -> the cell of its rows where the kernel lacks it.
LACKING = {
    "fentry": "no: it has no fentry",
    "kprobe.multi": "no: it has no fprobe",
    "fentry.multi": "no: it has no such links",
}
# A line of doctor's -> the rows, for kernel.perf_event_paranoid up to 2 and above.
WAYS = {
    "entry by fentry": ("function (fentry)",) * 2,
    "entry by kprobe": ("function (kprobe)", f"function (kprobe){_AT_3}"),
    "entry by fentry.multi": ("functions (fentry.multi)",) * 2,
    "return by fexit.multi": ("returns (fexit.multi)",) * 2,
    "entry by kprobe.multi": ("functions (kprobe.multi)",) * 2,
    "return by fexit": ("return (fexit)",) * 2,
    "return by kretprobe": ("return (kretprobe)", f"function (kprobe){_AT_3}"),
    "return by kretprobe.multi": ("returns (kretprobe.multi)",) * 2,
    "inside by kprobe": ("inside a function (kprobe)", f"function (kprobe){_AT_3}"),
    "raw tracepoints": ("tracepoint",) * 2,
    "tracepoints by perf": (
        "tracepoint of a system call",
        f"tracepoint of a system call{_AT_3}",
    ),
    "samples": ("samples", f"samples{_AT_3}"),
}
FOUND: dict[str, frozenset[str]] = {}


@pytest.fixture(scope="module", autouse=True)
def reachable() -> Iterator[None]:
    """Let user nobody read Python's files, which may be in a closed home folder."""
    modes = {}
    for start in (sys.base_prefix, sys.prefix, str(Path(__file__))):
        for folder in Path(start).resolve().parents:
            if (mode := folder.stat().st_mode & 0o7777) & 0o5 != 0o5:
                modes[folder] = mode
                folder.chmod(mode | 0o5)
    yield
    for folder, mode in modes.items():
        folder.chmod(mode)


@pytest.fixture(scope="module", autouse=True)
def warm(symbols: Kallsyms) -> None:
    """Look names up once, so that forks have them cached."""
    symbols.lookup(1)
    entry = "kprobe" if no_fentry(symbols) else "fentry"
    for function, attach in (("vfs_read", entry), ("r:vfs_read", "kprobe")):
        selection = choose([function], None, symbols)
        open_probe(selection, symbols, ProbeOptions(Method.HELPER, attach)).close()


def become(names: Sequence[str]) -> None:
    """Become user nobody with these capabilities."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_KEEP, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    mask = sum(1 << BITS[name] for name in names)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("<Ii", _VERSION_3, 0)
    data = struct.pack("<6I", low, low, 0, high, high, 0)
    assert libc.syscall(HERE.capset, header, data) == 0
    libc.prctl(_DUMPABLE, 1, 0, 0, 0)  # as after execve(2)


@contextmanager
def sysctl(path: Path, value: int) -> Iterator[None]:
    old = path.read_text()
    path.write_text(str(value))
    try:
        yield
    finally:
        path.write_text(old)


def known(symbols: Kallsyms) -> None:
    """Read only the first lines of kallsyms, which tell whether addresses show.

    The whole takes the kernel seconds. It decides about addresses when the file is opened
    (kallsyms_open() in kernel/kallsyms.c).
    """

    def read(path: Path = PATH) -> Kallsyms:
        with open(path, "rb") as file:
            Kallsyms(file.read(1 << 16).rpartition(b"\n")[0] + b"\n")
        return symbols

    Kallsyms.read = read  # type: ignore[method-assign]


def kwalk_as_nobody(
    words: Sequence[str], names: Sequence[str], symbols: Kallsyms
) -> tuple[int, str, str]:
    """Run a command line as nobody; return the exit code and the messages."""

    def first() -> None:
        become(names)
        known(symbols)

    code, out, err = call("kwalk", *words, first=first)
    assert "Traceback" not in out + err
    return code, out, err


def fewest(row: Row, symbols: Kallsyms) -> frozenset[str]:
    """Return the fewest capabilities with which a command line works, by its own messages."""
    held: set[str] = set()

    def said(names: set[str]) -> str:
        code, _, err = kwalk_as_nobody(row.words, sorted(names), symbols)
        told = set(re.findall(r"CAP_\w+", err))
        if code == 0:
            return ""
        assert code == 1, err
        assert not told & names, f"it holds {names}: {err}"
        assert "notrace" not in err
        return err

    with sysctl(PARANOID, row.paranoid), sysctl(KPTR, row.kptr):
        while err := said(held):
            told = set(re.findall(r"CAP_\w+", err))
            assert told, f"no word of what it takes besides {held}: {err}"
            held |= told
        needless = set()
        for name in sorted(held, key=lambda name: name != "CAP_SYS_ADMIN"):
            if err := said(held - {name}):
                assert name in err
            else:
                held.remove(name)
                needless.add(name)
    # Included in CAP_SYS_ADMIN.
    assert needless <= ({"CAP_BPF", "CAP_PERFMON"} if "CAP_SYS_ADMIN" in held else set())
    return frozenset(held)


def lacking_links(name: str, symbols: Kallsyms) -> str:
    """Return the cell of a row if the kernel has no links for it, else an empty string."""
    words = ROWS[name].words
    way = words[words.index("--attach") + 1] if "--attach" in words else ""
    if way not in LACKING:
        return ""
    lacks = no_fentry(symbols) if way == "fentry" else lacks_multi(way, symbols)
    return LACKING[way] if lacks else ""


def measured(name: str, symbols: Kallsyms) -> frozenset[str]:
    if name not in FOUND:
        FOUND[name] = fewest(ROWS[name], symbols)
    return FOUND[name]


@ON_THE_PAGE
@pytest.mark.long
@pytest.mark.parametrize("name", ROWS)
def test_capabilities_of_each_way_are_few_and_named_where_lacking(
    name: str, symbols: Kallsyms, record_property: Callable[[str, object], None]
) -> None:
    if cell := lacking_links(name, symbols):
        pass
    elif "module" in name and not any(s.module == MODULE for s in symbols.find(FUNCTION)):
        cell = f"not tried: {MODULE} is no module"
    else:
        found = measured(name, symbols)
        cell = ", ".join(capability for capability in BITS if capability in found) or "none"
    record_property("capabilities", json.dumps([name, cell]))


@ON_THE_PAGE
@pytest.mark.long
@pytest.mark.parametrize(
    ("held", "paranoid"),
    [(THREE, 3), (THREE, 2), (("CAP_SYS_ADMIN", "CAP_SYSLOG"), 3)],
    ids=["three", "three-and-events", "admin"],
)
def test_doctor_agrees_with_what_is_measured(
    held: tuple[str, ...], paranoid: int, symbols: Kallsyms
) -> None:
    with sysctl(PARANOID, paranoid), sysctl(KPTR, 1):
        code, out, _ = kwalk_as_nobody(["doctor", "--format", "json"], held, symbols)
    result = json.loads(out)
    assert code == 0, out
    findings = {finding["name"]: finding for finding in result["findings"]}
    for way in result["ways"]:
        row = WAYS[way["name"]][paranoid > 2]
        if lacking_links(row, symbols):
            assert not way["works"]
            continue
        lacking = implied(measured(row, symbols)) - implied(held)
        assert way["works"] == (not lacking), way
        for name in lacking:
            assert name in way["text"], way
    events = implied(measured(WAYS["samples"][paranoid > 2], symbols)) <= implied(held)
    assert findings["perf events"]["ok"] == events
    assert not findings["tracefs"]["ok"]
    assert "CAP_DAC_READ_SEARCH" in findings["tracefs"]["text"]
    assert ("types of modules" in findings) == ("CAP_SYS_ADMIN" not in held)


def implied(names: Sequence[str] | frozenset[str]) -> set[str]:
    """Return capabilities together with those that they include."""
    return {*names, *(("CAP_BPF", "CAP_PERFMON") if "CAP_SYS_ADMIN" in names else ())}


@only_on("debian-12")
def test_three_capabilities_are_enough_from_a_shell(symbols: Kallsyms) -> None:
    """A new process, as in docs/capabilities.md, which reads all that a user's does."""
    caps = "+bpf,+perfmon,+syslog"
    become_user = ["setpriv", "--reuid", str(NOBODY), "--clear-groups"]
    if subprocess.run([*become_user, "test", "-x", str(VENV / "kwalk")], check=False).returncode:
        pytest.skip("other users cannot read this source tree, as below /root")
    words = [*become_user, "--inh-caps", caps, "--ambient-caps", caps, str(VENV / "kwalk")]
    done = subprocess.run([*words, *count("vfs_read")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "vfs_read" in done.stdout
    assert "unexplained" not in done.stderr


@only_on("debian-12")
def test_tracepoint_that_is_not_there_is_told_without_tracefs(symbols: Kallsyms) -> None:
    code, _, err = kwalk_as_nobody(count("t:sched:sched_nosuch"), THREE, symbols)
    assert code == 2, err
    assert "has a tracepoint sched_nosuch" in err
    assert "/sys/kernel/tracing/events" in err


@only_on("debian-12")
@pytest.mark.parametrize("processes", [1, 2], ids=["command", "guard"])
def test_command_that_may_not_be_started_names_the_limit_of_processes(
    processes: int, symbols: Kallsyms
) -> None:
    def first() -> None:
        become(THREE)
        known(symbols)
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))

    code, _, err = call("kwalk", *count("vfs_read"), "--", "true", first=first)
    assert code == 1, err
    assert "Traceback" not in err
    assert "true cannot be started: Resource temporarily unavailable" in err
    assert f"RLIMIT_NPROC (`ulimit -u`) is {processes}" in err


def forbid(number: int, error: int) -> None:
    """Make a system call fail, as a container's seccomp filter does."""
    # include/uapi/linux/filter.h, seccomp.h: load the number, compare, return
    program = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | error)]
    program.append((0x06, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *each) for each in program))
    header = struct.pack("<H6xQ", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    assert libc.prctl(_SECCOMP, _FILTER, header, 0, 0) == 0


@only_on("debian-12")
@pytest.mark.parametrize("names", [None, THREE], ids=["root", "three"])
@pytest.mark.parametrize(
    ("attach", "number"),
    [("fentry", here().bpf), ("kprobe", here().perf_event_open)],
    ids=["bpf", "perf_event_open"],
)
def test_policy_is_named_where_no_capability_is_lacking(
    names: tuple[str, ...] | None, attach: str, number: int, symbols: Kallsyms
) -> None:
    def first() -> None:
        if names:
            become(names)
        known(symbols)
        forbid(number, errno.EPERM)

    with sysctl(PARANOID, 2), sysctl(KPTR, 1):
        code, _, err = call("kwalk", *count("vfs_read", attach=attach), first=first)
    assert code == 1, err
    assert "Traceback" not in err
    assert "Operation not permitted (errno 1)" in err
    assert "a policy of this machine (lockdown, LSM, seccomp) may forbid it" in err
    assert "CAP_" not in err
    assert "perf_event_paranoid" not in err


@only_on("debian-12")
def test_user_namespaces_root_is_told_so(symbols: Kallsyms) -> None:
    def first() -> None:
        unshare_users()
        known(symbols)

    with sysctl(PARANOID, 2), sysctl(KPTR, 1):
        for words in (count("vfs_read"), count("--freq", "99"), ("functions", "vfs_rea*")):
            code, _, err = call("kwalk", *words, first=first)
            assert code == 1, err
            assert "Traceback" not in err
            assert "in a user namespace" in err
            assert "policy" not in err
        code, out, _ = call("kwalk", "doctor", "--format", "json", first=first)
    assert code == 1
    told = {finding["name"]: finding for finding in json.loads(out)["findings"]}
    assert not told["privileges"]["ok"]
    assert "in a user namespace" in told["privileges"]["text"]


def unshare_users() -> None:
    """Enter a new user namespace as its root."""
    user, group = os.geteuid(), os.getegid()
    assert ctypes.CDLL(None, use_errno=True).unshare(_NEW_USERS) == 0
    maps = {"setgroups": "deny", "uid_map": f"0 {user} 1", "gid_map": f"0 {group} 1"}
    for name, text in maps.items():
        Path("/proc/self", name).write_text(text)


@only_on("debian-12")
def test_hidden_addresses_name_the_sysctl_or_the_capability(symbols: Kallsyms) -> None:
    def refused(*names: str) -> str:
        code, _, err = kwalk_as_nobody(count("vfs_read"), names, symbols)
        assert code == 1, err
        return err

    with sysctl(PARANOID, 2):
        with sysctl(KPTR, 1):
            err = refused("CAP_SYS_ADMIN")
            assert "lacks CAP_SYSLOG" in err
            assert "kptr_restrict" not in err, "it hides nothing from CAP_SYSLOG"
        with sysctl(KPTR, 2):
            err = refused("CAP_SYS_ADMIN", "CAP_SYSLOG")
            assert "kptr_restrict is 2" in err
            assert "CAP_SYSLOG" not in err
            err = refused("CAP_SYS_ADMIN")
            assert "kptr_restrict is 2" in err
