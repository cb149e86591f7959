# SPDX-License-Identifier: MIT
"""pprof's messages for the protobuf run-time: field names, numbers and types of profile.proto.

Its own decoder and these descriptors share nothing with what writes the format.
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("google.protobuf", reason="the package protobuf is not installed")

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# name: (number, type); a type with * is repeated, one with a capital letter is a message.
_MESSAGES = {
    "Profile": {
        "sample_type": (1, "ValueType*"), "sample": (2, "Sample*"), "mapping": (3, "Mapping*"),
        "location": (4, "Location*"), "function": (5, "Function*"), "string_table": (6, "string*"),
        "drop_frames": (7, "int64"), "keep_frames": (8, "int64"), "time_nanos": (9, "int64"),
        "duration_nanos": (10, "int64"), "period_type": (11, "ValueType"), "period": (12, "int64"),
        "comment": (13, "int64*"), "default_sample_type": (14, "int64"),
    },
    "ValueType": {"type": (1, "int64"), "unit": (2, "int64")},
    "Sample": {"location_id": (1, "uint64*"), "value": (2, "int64*"), "label": (3, "Label*")},
    "Label": {"key": (1, "int64"), "str": (2, "int64"), "num": (3, "int64"),
              "num_unit": (4, "int64")},
    "Mapping": {
        "id": (1, "uint64"), "memory_start": (2, "uint64"), "memory_limit": (3, "uint64"),
        "file_offset": (4, "uint64"), "filename": (5, "int64"), "build_id": (6, "int64"),
        "has_functions": (7, "bool"), "has_filenames": (8, "bool"),
        "has_line_numbers": (9, "bool"), "has_inline_frames": (10, "bool"),
    },
    "Location": {
        "id": (1, "uint64"), "mapping_id": (2, "uint64"), "address": (3, "uint64"),
        "line": (4, "Line*"), "is_folded": (5, "bool"),
    },
    "Line": {"function_id": (1, "uint64"), "line": (2, "int64"), "column": (3, "int64")},
    "Function": {
        "id": (1, "uint64"), "name": (2, "int64"), "system_name": (3, "int64"),
        "filename": (4, "int64"), "start_line": (5, "int64"),
    },
}  # fmt: skip
_PACKAGE = "kwalk_test.pprof"


def _profile_class() -> Any:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="kwalk_test_pprof.proto", package=_PACKAGE, syntax="proto3"
    )
    for message, fields in _MESSAGES.items():
        added = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            made = added.field.add(name=name, number=number, label=label)
            kind = kind.rstrip("*")
            if kind in _MESSAGES:
                made.type, made.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                made.type = getattr(field, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Profile"))


PprofProfile = _profile_class()


def unknown_fields(message: Any) -> int:
    """How many fields a message and those in it have that its schema does not know."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    found = len(UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.message_type:
            found += sum(map(unknown_fields, value if field.is_repeated else [value]))
    return found
