# SPDX-License-Identifier: MIT
"""Traffic over the loopback device, which receives in a softirq."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from workloads.running import repeat
from workloads.surroundings import SYSCALL, Burst, Surroundings, often, path


@contextlib.contextmanager
def tcp() -> Iterator[Burst]:
    """Send and receive by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:

        def exchange() -> None:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            client.send(b"x" * 100)
            server.recv(1000)

        yield repeat(exchange)


@contextlib.contextmanager
def udp() -> Iterator[Burst]:
    """Send by UDP."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        other.bind(("127.0.0.1", 0))
        one.connect(other.getsockname())

        def exchange() -> None:
            one.send(b"x" * 100)
            other.recv(1000)

        yield repeat(exchange)


ALL = (
    Surroundings(
        "softirq-in-process",
        ("ip_rcv",),
        udp,
        often(path("ip_rcv", "net_rx_action", "do_softirq*", "__local_bh_enable_ip", root=SYSCALL)),
    ),
    Surroundings(
        "tcp-receive",
        ("tcp_v4_rcv",),
        tcp,
        often(path("tcp_v4_rcv", "net_rx_action", "__local_bh_enable_ip", "tcp_sendmsg")),
    ),
    Surroundings(
        "tcp-send",
        ("tcp_sendmsg",),
        tcp,
        often(path("tcp_sendmsg", "__sys_sendto", root=SYSCALL)),
    ),
    Surroundings(
        "tcp-acknowledgement",
        ("tcp_ack",),
        tcp,
        often(path("tcp_ack", "tcp_v4_rcv", "net_rx_action", "tcp_sendmsg", root=SYSCALL)),
    ),
)
