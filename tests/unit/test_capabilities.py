# SPDX-License-Identifier: MIT
"""May this process trace: what is enough, what is not, and what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from kwalk.errors import NotSupported
from kwalk.kernel import capabilities

ALL = (1 << 41) - 1
ADMIN, SYSLOG, PERFMON, BPF = 1 << 21, 1 << 34, 1 << 38, 1 << 39
NEEDED = ["CAP_SYSLOG", "CAP_PERFMON", "CAP_BPF"]


def status(effective: int) -> str:
    """/proc/self/status of a process that could have more than it has."""
    return (
        f"Name:\tpython3\nCapInh:\t{ALL:016x}\nCapPrm:\t{ALL:016x}\n"
        f"CapEff:\t{effective:016x}\nCapBnd:\t{ALL:016x}\nCapAmb:\t{0:016x}\n"
    )


@pytest.mark.parametrize(
    ("effective", "missing"),
    [
        (ALL, []),
        (0, NEEDED),
        (SYSLOG | PERFMON | BPF, []),
        (PERFMON | BPF, ["CAP_SYSLOG"]),
        (SYSLOG | BPF, ["CAP_PERFMON"]),
        (SYSLOG | PERFMON, ["CAP_BPF"]),
        (ALL & ~ADMIN & ~BPF & ~PERFMON, ["CAP_PERFMON", "CAP_BPF"]),
        # It includes the other two; without CAP_SYSLOG, kallsyms shows or hides addresses by
        # kptr_restrict, and Kallsyms tells.
        (ADMIN, []),
    ],
)
def test_missing_capabilities_are_named_by_the_effective_set(
    effective: int, missing: list[str]
) -> None:
    assert capabilities.missing_capabilities(status(effective)) == missing


def test_status_without_capabilities_lacks_all() -> None:
    assert capabilities.missing_capabilities("Name:\tpython3\n") == NEEDED


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("[none] integrity confidentiality\n", "none"),
        ("none [integrity] confidentiality\n", "integrity"),
        ("none integrity [confidentiality]\n", "confidentiality"),
        ("", ""),
    ],
)
def test_lockdown_is_the_word_in_brackets(
    text: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert capabilities.lockdown(text) == mode
    monkeypatch.setattr(capabilities, "LOCKDOWN", tmp_path / "lockdown")
    assert capabilities.lockdown() == ""  # no securityfs, or no lockdown
    (tmp_path / "lockdown").write_text(text)
    assert capabilities.lockdown() == mode


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that lets us trace; tests take something away from it."""
    files = {
        "STATUS": status(ALL),
        "LOCKDOWN": "none [integrity] confidentiality\n",
        "BTF": "x",
        "UID_MAP": "         0          0 4294967295\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(capabilities, name, tmp_path / name)
    capabilities.check_access()
    return tmp_path


def test_unprivileged_process_is_told_what_it_lacks(machine: Path) -> None:
    (machine / "STATUS").write_text(status(SYSLOG))
    with pytest.raises(NotSupported, match=r"CAP_PERFMON, CAP_BPF, which[\s\S]*sudo"):
        capabilities.check_access()


def test_root_of_a_user_namespace_is_told_that_it_is_not_the_machines(machine: Path) -> None:
    (machine / "UID_MAP").write_text("         0       1000          1\n")
    with pytest.raises(NotSupported, match=r"in a user namespace[\s\S]*kwalk lab"):
        capabilities.check_access()


def test_lockdown_confidentiality_and_missing_btf_are_named(machine: Path) -> None:
    (machine / "LOCKDOWN").write_text("none integrity [confidentiality]\n")
    with pytest.raises(NotSupported, match="locked down"):
        capabilities.check_access()
    (machine / "LOCKDOWN").unlink()
    (machine / "BTF").unlink()
    with pytest.raises(NotSupported, match="CONFIG_DEBUG_INFO_BTF"):
        capabilities.check_access()


def test_unwinder_depth_is_read_from_its_sysctl(tmp_path: Path) -> None:
    limit = tmp_path / "perf_event_max_stack"
    assert capabilities.unwinder_frames(limit) == 127, (
        "the kernel's own default where nothing can be read"
    )
    limit.write_text("16\n")
    assert capabilities.unwinder_frames(limit) == 16
