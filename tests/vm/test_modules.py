# SPDX-License-Identifier: MIT
"""Modules that come and go during walks: no rule of old code is used for new code."""

from __future__ import annotations

import subprocess
from itertools import cycle
from pathlib import Path

import pytest
from verified import must_agree, verified
from workloads.modules import dummy_device

TEXT = Path("/sys/module/dummy/sections/.text")
# Small modules that move dummy's code by some pages.
_CANDIDATES = ("xt_mark", "nf_log_syslog", "xt_addrtype", "llc", "udp_tunnel", "raid6_pq")


def pads() -> list[str]:
    """Return three modules of this kernel that move the next one to another address."""
    there = [
        name
        for name in _CANDIDATES
        if not subprocess.run(["modprobe", "-n", "-q", name], check=False).returncode
    ]
    assert len(there) >= 3
    return there[:3]


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
def test_module_reloaded_at_other_addresses(attach: str) -> None:
    subprocess.run(["modprobe", "x_tables"], check=False)  # modules that the pads depend on stay
    places: set[int] = set()
    modules = pads()
    numbers = cycle(range(len(modules) + 1))

    def burst() -> None:
        loaded = modules[: next(numbers)]
        for pad in loaded:
            subprocess.run(["modprobe", pad], check=True)
        with dummy_device() as send:
            places.add(int(TEXT.read_text(), 16))
            send()
        subprocess.run(["rmmod", "dummy", *loaded], check=True)

    burst()
    summary, stacks, symbolizer = verified("consume_skb", attach, 5000, burst)
    # While a module comes or goes, the tree cannot be read: such a hit falls back.
    must_agree(summary, symbolizer, 0.01)
    assert summary.verify
    assert summary.verify.checked >= 5000
    assert len(places) >= 3, "dummy was loaded to the same address again and again"
    # dummy_xmit is FUNC's caller; frames of modules that are gone have only addresses.
    callers = {stack.addresses[1] for stack in stacks}
    seen = {place for place in places if any(0 <= caller - place < 8192 for caller in callers)}
    assert len(seen) >= 3
