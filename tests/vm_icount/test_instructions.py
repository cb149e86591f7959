# SPDX-License-Identifier: MIT
"""What programs cost, in instructions: on a virtual machine whose clock counts them.

One instruction is a nanosecond there, whatever the machine below does, so that these are counts
and no times (docs/architecture.md, the lab).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from kwalk.abi import Method, Output
from kwalk.bench.empty import WAYS, EmptyProgram
from kwalk.engine.capture import Capture
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import stats
from kwalk.options.filters import Cgroup, Filters
from kwalk.options.probe import ProbeOptions
from kwalk.probe.nested_level import NestedLevel

FUNCTION = "vfs_read"
CALLS = 2000
# What a filter that refuses a call may cost on top of a program that does nothing.
MOST_OF_A_FILTER = 60
# The kernel's function that knows a cgroup's ancestors is one call more.
MOST_OF_CGROUP = 80
# What a program for nested hits may cost that finds none, on top of one that does nothing.
MOST_OF_A_LOOK = 40
REFUSING = {
    "pid": Filters(pids=(1,)),
    "tid": Filters(tids=(1,)),
    "comm": Filters(comms=("nobody",)),
    "cpu": Filters(cpus=(63,)),
    "netns": Filters(netns=(1,)),
    "cgroup": Filters(cgroups=(Cgroup(1 << 40, 0),)),
}


def reads() -> None:
    with open("/dev/zero", "rb", buffering=0) as file:
        for _ in range(CALLS):
            file.read(1)


def cost(work: Callable[[], object]) -> int:
    """Instructions of one run of the programs that were attached for ``work``.

    The fewest of three times: interrupts that come meanwhile are counted as well.
    """
    found = []
    for _ in range(3):
        before = stats.programs()
        with stats.measured():
            work()
            spent = stats.per_event({}, stats.since(before))
        assert spent is not None
        found.append(spent)
    return min(found)


@pytest.fixture(scope="session")
def symbols() -> Kallsyms:
    return Kallsyms.read()


@pytest.fixture(scope="session")
def empty() -> dict[str, int]:
    """Instructions of a program that does nothing, by the way it is attached."""
    found = {}
    for way in WAYS:
        with EmptyProgram(FUNCTION, way):
            found[way] = cost(reads)
    return found


def test_empty_program_costs_as_many_instructions_as_ever(empty: dict[str, int]) -> None:
    """Else the clock does not count instructions, and the other figures mean nothing."""
    assert 30 < empty["kprobe"] < 80
    assert 30 < empty["fentry"] < 100


@pytest.mark.parametrize("way", ["kprobe", "fentry"])
@pytest.mark.parametrize("kind", REFUSING)
def test_filter_that_refuses_costs_next_to_nothing(
    kind: str, way: str, empty: dict[str, int]
) -> None:
    options = ProbeOptions(Method.MANUAL, way, output=Output.COUNT, filters=REFUSING[kind])
    with Capture(FUNCTION, options) as capture:
        spent = cost(reads)
        capture.stop()
        ledger = capture.summary().ledger
    assert ledger.not_wanted["filtered"] >= CALLS
    assert ledger.recorded == 0
    print(f"{way} {kind}: {spent} instructions, {spent - empty[way]} more than nothing")
    assert spent - empty[way] <= (MOST_OF_CGROUP if kind == "cgroup" else MOST_OF_A_FILTER)


@pytest.fixture
def messages() -> Iterator[Callable[[], None]]:
    """Through the loopback: each is received in a softirq on top of its sender's call."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    left.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send() -> None:
        for _ in range(CALLS):
            left.send(b"x")
            right.recv(1)

    with left, right:
        yield send


def test_walk_costs_a_tenth_of_the_helper(messages: Callable[[], None]) -> None:
    found = {}
    for method, way in ((Method.MANUAL, "fentry"), (Method.HELPER, "kprobe")):
        with Capture("ip_rcv", ProbeOptions(method, way, output=Output.COUNT)) as capture:
            messages()  # the tree knows these stacks
            found[method] = cost(messages)
            capture.stop()
            counts, ledger = capture.counts(), capture.summary().ledger
        assert ledger.balance == 0
        assert max(count.count for count in counts) > CALLS
    print(f"manual {found[Method.MANUAL]}, helper {found[Method.HELPER]} instructions")
    assert found[Method.MANUAL] * 10 <= found[Method.HELPER]


def test_program_for_nested_hits_that_finds_none_costs_next_to_nothing(
    empty: dict[str, int], symbols: Kallsyms
) -> None:
    options = ProbeOptions(Method.MANUAL, "fentry", output=Output.COUNT)
    with Capture(FUNCTION, options) as capture:
        probe = capture.probe
        level = NestedLevel(probe.loaded, "fentry", probe.selection.targets[0], symbols, ())
        try:
            level.attach()
            spent = min(_own_cost(level) for _ in range(3))
        finally:
            level.obj.close()
        capture.stop()
        assert probe.tree.hits_of(1) == 0
        assert probe.tree.hits_of(0) >= 3 * CALLS
    typed = bool(symbols.address("bpf_rdonly_cast"))
    more = spent - empty["fentry"]
    print(f"nested: {spent} instructions, {more} more than nothing; typed loads: {typed}")
    assert more <= (MOST_OF_A_LOOK if typed else 3 * MOST_OF_A_LOOK)


def _own_cost(level: NestedLevel) -> int:
    """Instructions of one run of a level's program."""
    own = int.from_bytes(level.obj.program_info(level.program)[4:8], "little")
    before = stats.programs()
    with stats.measured():
        reads()
        spent, runs = stats.since(before)[own]
    assert runs >= CALLS
    return spent // runs
