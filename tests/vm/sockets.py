# SPDX-License-Identifier: MIT
"""Socket traffic of many kinds: more than 100 different stacks lead to skb_release_data."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator

Pair = tuple[socket.socket, socket.socket]


def _tcp(family: socket.AddressFamily, address: str) -> Pair:
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen()
        client = socket.create_connection(listener.getsockname()[:2])
        server, _ = listener.accept()
    for sock in (client, server):
        # Acknowledge at once, in the softirq on top of the sender.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    return client, server


def _udp(family: socket.AddressFamily, address: str) -> Pair:
    left, right = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
    left.bind((address, 0))
    right.bind((address, 0))
    left.connect(right.getsockname()[:2])
    right.connect(left.getsockname()[:2])
    return left, right


def _refused(family: socket.AddressFamily, address: str) -> Pair:
    """Send UDP to a closed port: an ICMP error comes back."""
    left, right = _udp(family, address)
    right.close()
    return left, socket.socket(family, socket.SOCK_DGRAM)


def _raw(family: socket.AddressFamily, address: str, protocol: int) -> Pair:
    left, right = (socket.socket(family, socket.SOCK_RAW, protocol) for _ in range(2))
    left.connect((address, 0))
    right.connect((address, 0))
    return left, right


def _packet(kind: socket.SocketKind) -> Pair:
    left, right = (socket.socket(socket.AF_PACKET, kind) for _ in range(2))
    left.bind(("lo", 0x88B5))  # a protocol number for experiments, otherwise unused
    right.bind(("lo", 0x88B5))
    return left, right


def _pairs() -> Iterator[Pair]:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        yield socket.socketpair(socket.AF_UNIX, kind)
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with contextlib.suppress(OSError):  # not every kernel has IPv6
            yield _tcp(family, address)
            yield _udp(family, address)
            yield _refused(family, address)
            yield _raw(family, address, 253)
    for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
        with contextlib.suppress(OSError):  # a module, not on every kernel
            yield _packet(kind)


def _senders(sock: socket.socket, size: int) -> list[Callable[[], object]]:
    data, fd = b"x" * size, sock.fileno()
    return [
        lambda: sock.send(data),
        lambda: sock.sendmsg([data]),
        lambda: os.write(fd, data),
        lambda: os.writev(fd, [data, b"y"]),
        lambda: sock.send(data, socket.MSG_MORE),
        lambda: _splice(fd, data),
        lambda: _sendfile(fd, size),
    ]


def _splice(fd: int, data: bytes) -> None:
    source, sink = os.pipe()
    try:
        os.write(sink, data)
        os.splice(source, fd, len(data))
    finally:
        os.close(source)
        os.close(sink)


def _sendfile(fd: int, size: int) -> None:
    with open(__file__, "rb") as file:
        os.sendfile(fd, file.fileno(), 0, size)


def _receivers(sock: socket.socket) -> list[Callable[[], object]]:
    fd = sock.fileno()
    return [
        lambda: sock.recv(65536),
        lambda: sock.recvmsg(65536),
        lambda: os.read(fd, 65536),
        lambda: os.readv(fd, [bytearray(65536)]),
    ]


def _netlink() -> None:
    # RTM_GETLINK 18, GETADDR 22, GETROUTE 26, GETNEIGH 30, GETRULE 34, GETQDISC 38
    for kind in (18, 22, 26, 30, 34, 38):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
            sock.settimeout(0.5)
            request = struct.pack("=IHHIIBxxxIII", 32, kind, 0x301, 1, 0, 0, 0, 0, 0)
            with contextlib.suppress(OSError):
                sock.send(request)
                sock.recv(65536)


def traffic() -> None:
    """Send and receive once by each kind of socket."""
    for left, right in _pairs():
        with left, right:
            for one, other in ((left, right), (right, left)):
                other.settimeout(0.2)
                for size in (10, 3000):
                    for index, send in enumerate(_senders(one, size)):
                        with contextlib.suppress(OSError):
                            send()
                            _receivers(other)[index % 4]()
            left.shutdown(socket.SHUT_WR) if left.type == socket.SOCK_STREAM else None
    _netlink()
