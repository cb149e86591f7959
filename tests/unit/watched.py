# SPDX-License-Identifier: MIT
"""Models of the live view, as they are after some intervals."""

from __future__ import annotations

from recorded import stack, summary

from kwalk.model.ledger import Summary
from kwalk.model.stack import Count, Group, Stack
from kwalk.tui.control import Request, press
from kwalk.tui.model import Model, TracingCost

READ = stack("ip_rcv", "softirq", "send", "sock_write", "vfs_write", "syscall", "entry")
SENT = stack("ip_rcv", "softirq", "send", "sys_sendto", "syscall", "entry")
IDLE = stack("ip_rcv", "softirq", "cpu_idle", truncated=True)
REDIS, NGINX = Group("pid", 7, "redis"), Group("pid", 8, "nginx")


def counts(*numbers: int, stacks: tuple[Stack, ...] = (READ, SENT, IDLE)) -> list[Count]:
    """Counts of these stacks, in their order; none of those that are 0."""
    return [Count(s, n) for s, n in zip(stacks, numbers, strict=False) if n]


def told(found: list[Count], under_way: int = 0, **lost: int) -> Summary:
    """A summary while calls go on."""
    made = summary(found, **lost)
    made.ledger.hits += under_way
    return made


def fed(*ticks: list[Count], per: str = "", top: int | None = None, length: float = 1) -> Model:
    """A model after some intervals."""
    model = Model("ip_rcv", "calls", per, top, length)
    for found in ticks:
        model.feed(found, length, told(found, under_way=2), TracingCost(0.0123, 0.004))
    return model


def type_in(model: Model, *keys: str) -> list[Request]:
    """Press keys; return what they ask for."""
    return [request for key in keys if (request := press(model, key))]
