# SPDX-License-Identifier: MIT
"""Packets of a Perfetto trace."""

from __future__ import annotations

from kwalk.report.protobuf import message

# trusted_packet_sequence_id: a single writer.
SEQUENCE = 1
# Values of sequence_flags: SEQ_INCREMENTAL_STATE_CLEARED, SEQ_NEEDS_INCREMENTAL_STATE.
CLEARED, NEEDS_STATE = 1, 2


def packet(*fields: bytes) -> bytes:
    """Return a packet, as a field of the trace."""
    return message(1, *fields)
