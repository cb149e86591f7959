# SPDX-License-Identifier: MIT
"""Many functions at once: each call under its own function, all traceable functions attached."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
from collections import Counter

import pytest
from conftest import TRACING, call, only_on
from verified import must_agree, verified

from kwalk.abi import Method, Output
from kwalk.engine.capture import Capture
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.options.probe import ProbeOptions
from kwalk.probe import ftrace_sites
from kwalk.probe.attach_multi import lacks_multi
from kwalk.probe.load import image
from kwalk.probe.selection import matching
from kwalk.symbolize.symbolizer import Symbolizer
from waiting import wait_for

# About ten thousand functions.
MANY = ("*_get_*", "*_set_*", "*_read*", "*_write*", "*_init*", "vfs_*", "tcp_*", "udp_*", "ip_*")
# Prefixes of functions that an idle machine calls seldom.
QUIET = (
    *(
        "acpi",
        "pci",
        "usb",
        "xen",
        "bpf",
        "crypto",
        "scsi",
        "ata",
        "efi",
        "tpm",
        "drm",
        "hid",
        "snd",
    ),
    *("nf", "ipv6", "ip6", "ns", "security", "selinux", "apparmor", "aa", "tomoyo", "smack", "key"),
    *("phy", "power", "regmap", "gpio", "clk", "thermal", "intel", "amd", "iommu", "dma", "dmar"),
    *("input", "tty", "serial8250", "ext4", "nfs", "fuse", "proc", "sysfs", "kernfs", "cpufreq"),
    *(
        "edac",
        "mce",
        "msi",
        "pcie",
        "pnp",
        "ps2",
        "psmouse",
        "rtc",
        "vga",
        "fb",
        "md",
        "nvmem",
        "dm",
    ),
)
FUNCTIONS = ("vfs_read", "vfs_write", "ksys_read", "ksys_write")


# Where each way is tried; the lab's kernels differ in nothing else that it depends on.
TRIED = [("fp", "kprobe.multi"), ("fp", "kprobe"), ("debian-sid", "fentry.multi")]
ARM64 = "debian-sid-arm64"  # which has most of them
on_its_kernel = pytest.mark.parametrize(
    "way", [pytest.param(way, marks=only_on(kernel, ARM64)) for kernel, way in TRIED]
)


def ways(symbols: Kallsyms) -> list[str]:
    multi = [way for way in ("fentry.multi", "kprobe.multi") if not lacks_multi(way, symbols)]
    return [*multi, "kprobe"]


def work(calls: int) -> None:
    """Make known numbers of calls: ``number`` reads, twice as many writes."""
    zero, null = os.open("/dev/zero", os.O_RDONLY), os.open("/dev/null", os.O_WRONLY)
    for _ in range(calls):
        os.read(zero, 1)
        os.write(null, b"x")
        os.write(null, b"y")
    os.close(zero)
    os.close(null)


def by_function(capture: Capture) -> Counter[str]:
    symbolizer = Symbolizer(capture.symbols)
    found: Counter[str] = Counter()
    for count in capture.counts():
        frames = symbolizer.frames(count.stack)
        assert frames[0].offset == 0
        found[frames[0].name] += count.count
    return found


@on_its_kernel
@pytest.mark.parametrize("method", [Method.MANUAL, Method.HELPER])
def test_calls_are_counted_under_the_function_that_was_called(
    way: str, method: Method, symbols: Kallsyms
) -> None:
    if way not in ways(symbols):
        pytest.skip(f"this kernel has no {way}")
    if way == "fentry.multi" and method == Method.HELPER:
        pytest.skip("fentry.multi is for the manual method")
    from kwalk.options.filters import Filters

    options = ProbeOptions(method, way, output=Output.COUNT, filters=Filters(pids=(os.getpid(),)))
    with Capture(FUNCTIONS, options) as capture:
        assert capture.probe.attach == way
        work(500)
        capture.stop()
        found = by_function(capture)
        ledger = capture.summary().ledger
    assert ledger.balance == 0
    missed = sum(ledger.lost.values())
    for function, number in zip(FUNCTIONS, (500, 1000, 500, 1000), strict=True):
        # This process makes a few reads and writes besides, and calls may be missed.
        assert number - missed <= found[function] <= number + 60, (function, found, ledger)


@on_its_kernel
@pytest.mark.parametrize("place", ["", "r:"])
def test_every_stack_of_many_functions_is_the_kernels(
    way: str, place: str, redis: None, symbols: Kallsyms
) -> None:
    if way not in ways(symbols):
        pytest.skip(f"this kernel has no {way}")
    summary, stacks, symbolizer = verified(f"{place}tcp_v4_*", way, 3000)
    must_agree(summary, symbolizer, fallback=0.001)
    assert stacks.total() >= 3000
    firsts = {symbolizer.frames(stack)[0].name for stack in stacks}
    assert {"tcp_v4_rcv", "tcp_v4_do_rcv"} <= firsts
    assert all(name.startswith("tcp_v4_") for name in firsts)
    # tcp_v4_do_rcv() is called by tcp_v4_rcv(), which is traced as well.
    assert any(
        [f.name for f in symbolizer.frames(stack)[:2]] == ["tcp_v4_do_rcv", "tcp_v4_rcv"]
        for stack in stacks
    )


@only_on("debian-sid", "")
def test_functions_without_a_trampoline_are_counted_beside_the_others() -> None:
    """vfs_statfs() is inlined into its callers in part: the BTF of this kernel lacks it."""
    names = ("vfs_statfs", "vfs_read", "vfs_write")
    options = ProbeOptions(attach="fentry.multi", output=Output.COUNT, verify=1)
    with Capture(names, options) as capture:
        assert capture.probe.beside
        work(300)
        for _ in range(700):
            os.statvfs("/")
        capture.stop()
        found = by_function(capture)
        summary = capture.summary()
    ledger = summary.ledger
    assert ledger.balance == 0
    missed = sum(ledger.lost.values())
    for function, number in zip(names, (700, 300, 600), strict=True):
        assert found[function] >= number - missed, (function, found, ledger)
    assert found["vfs_statfs"] <= 720
    assert summary.verify
    assert summary.verify.mismatches == 0
    assert summary.verify.checked >= 1600 - missed
    assert any("1 function of these by kprobe.multi: vfs_statfs" in n for n in summary.notes)


@only_on("debian-sid", "")
@pytest.mark.parametrize("words", [(), ("--attach", "fentry.multi")])
def test_function_that_trampolines_call_does_no_harm(words: tuple[str, ...]) -> None:
    """Traced by a trampoline it calls itself without end: the kernel panics."""
    functions = ("rcu_read_unlock_special", *(["vfs_getattr"] if words else []))
    walk = subprocess.Popen(["find", "/", "-xdev"], stdout=subprocess.DEVNULL)
    try:
        code, _, err = call("kwalk", "count", *functions, *words, "--duration", "8")
    finally:
        walk.kill()
        walk.wait()
    assert code == 0, err
    assert "kprobe" in err, err


@only_on("debian-sid", "")
def test_thousand_functions_are_traced_by_trampolines() -> None:
    enabled = TRACING / "enabled_functions"
    before = enabled.read_text()
    words = ("tcp_*", "inet_*", "proc_*", "kernfs_*", "vfs_*", "--attach", "fentry")
    code, out, err = call(
        "kwalk", "count", *words, "--duration", "1", "--top", "5", "--verify", "--format", "json",
        timeout=200,
    )  # fmt: skip
    assert code == 0, err
    summary = json.loads(out.splitlines()[-1])
    assert summary["attach"] == "fentry.multi"
    told = re.search(r"([\d,]+) functions \(manual by fentry\.multi\)", err)
    assert told, err
    assert int(told[1].replace(",", "")) >= 1000
    assert summary["ledger"]["hits"] > 100
    assert summary["verify"]["mismatches"] == 0
    assert wait_for(lambda: enabled.read_text() == before, 20, 0.5), enabled.read_text()[:1000]


def test_traceable_functions_are_those_that_the_kernel_lists(symbols: Kallsyms) -> None:
    able = ftrace_sites.read(symbols, image)
    listed = Counter((TRACING / "available_filter_functions").read_text().splitlines())
    wrong = []
    for target in matching("tcp_*", symbols) + matching("vfs_*", symbols):
        line = f"{target.name} [{target.module}]" if target.module else target.name
        same = len({s.address for s in symbols.find(target.name, code=True)}) > 1
        if not same and bool(able.why_not(target)) == bool(listed[line]):
            wrong.append((target, able.why_not(target)))
    assert wrong == []
    code, out, err = call("kwalk", "functions", "vfs_*", "--format", "json")
    assert code == 0, err
    rows = {row["name"]: row for row in map(json.loads, out.splitlines())}
    assert rows["vfs_read"]["traceable"]
    assert rows["vfs_read"]["why_not"] is None
    assert int(rows["vfs_read"]["addr"], 16) == symbols.address("vfs_read")


@only_on("fp", ARM64)
def test_functions_of_one_name_are_all_traced(symbols: Kallsyms) -> None:
    able = ftrace_sites.read(symbols, image)
    names = Counter(t.name for t in matching("*", symbols) if not t.module and not able.why_not(t))
    name = next(name for name in ("m_show", "c_start", "cpu_show", *names) if names[name] > 1)
    code, _, err = call("kwalk", "count", name, "--duration", "0.2", "--format", "json")
    assert code == 0, err
    assert f"tracing {name}: {names[name]} functions (" in err


@only_on("debian-sid", "")
@pytest.mark.timeout(560)
def test_many_thousand_probes_come_and_go() -> None:
    enabled = TRACING / "enabled_functions"
    before = enabled.read_text()
    code, _, err = call("kwalk", "count", *MANY, "--duration", "1", "--top", "1", timeout=500)
    assert code == 0, err
    assert "unexplained" not in err
    print(err)
    assert wait_for(lambda: enabled.read_text() == before, 20, 0.5), enabled.read_text()[:1000]


@only_on("debian-12", "")
@pytest.mark.long
@pytest.mark.timeout(2900)
def test_five_thousand_kprobes_attach_with_the_default_limits(symbols: Kallsyms) -> None:
    able = ftrace_sites.read(symbols, image)
    words, total = [], 0
    for prefix in QUIET:
        # Some are modules.
        found = matching(f"{prefix}_*", symbols) if any(symbols.functions_of(f"{prefix}_")) else []
        if here := sum(not able.why_not(target) for target in found):
            words.append(f"{prefix}_*")
            total += here
        if total > 5200:
            break
    assert total > 5200

    def limited() -> None:
        # systemd's DefaultLimitNOFILE
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 524288))

    code, _, err = call(
        "kwalk", "count", *words, "--attach", "kprobe", "--duration", "1", "--top", "1",
        timeout=2800, first=limited,
    )  # fmt: skip
    assert code == 0, err
    attached = re.search(r"([\d,]+) functions \(manual by kprobe\)", err)
    assert attached, err
    assert int(attached[1].replace(",", "")) >= 5000
    assert "unexplained" not in err
