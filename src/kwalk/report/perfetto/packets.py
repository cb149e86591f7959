# SPDX-License-Identifier: MIT
"""What all packets of a trace have in common."""

from __future__ import annotations

from kwalk.report.protobuf import message

# One sequence of packets, by one writer.
SEQUENCE = 1
# Values of sequence_flags: the state that samples need begins here; it is needed.
CLEARED, NEEDS_STATE = 1, 2


def packet(*fields: bytes) -> bytes:
    """Return a packet, as a field of the trace."""
    return message(1, *fields)
