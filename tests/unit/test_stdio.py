# SPDX-License-Identifier: MIT
"""Standard output: what has been written is there, readers may go, disks may be full."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.errors import OutputError
from kwalk.support import stdio
from kwalk.support.outlet import endless

Write = Callable[[str], bool]


def in_pieces(text: str) -> bool:
    return stdio.write_pieces([text[:1].encode(), text[1:].encode()])


WAYS = pytest.mark.parametrize("write", [stdio.write, in_pieces], ids=["write", "write_pieces"])


@WAYS
def test_closed_pipe_is_noticed_once(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    read, end = os.pipe()
    os.close(read)
    with os.fdopen(end, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert write("x") is False
        assert write("y") is True  # it goes nowhere, and Python's own flush is quiet
        monkeypatch.undo()


@WAYS
def test_write_is_unbuffered(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    read, end = os.pipe()
    with os.fdopen(end, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert write("xy") is True
        assert os.read(read, 9) == b"xy"
        monkeypatch.undo()
    os.close(read)


@given(st.lists(st.binary(max_size=9), max_size=5), st.integers(1, 7))
def test_pieces_are_all_written_by_short_writes(pieces: list[bytes], most: int) -> None:
    written: list[bytes] = []

    def write(fd: int, data: memoryview) -> int:
        assert fd == 42
        written.append(bytes(data[:most]))
        return len(written[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", SimpleNamespace(fileno=lambda: 42))
        patch.setattr(os, "write", write)
        assert stdio.write_pieces(pieces) is True
    assert b"".join(written) == b"".join(pieces)


def test_pipe_closed_in_the_middle_of_a_write_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, end = os.pipe()
    readers = [read]
    real = os.write

    def write(fd: int, data: memoryview) -> int:
        number = real(fd, data[:2])
        os.close(readers.pop())
        return number

    with os.fdopen(end, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(os, "write", write)
        assert stdio.write_pieces([b"abc", b"def"]) is False
        monkeypatch.undo()


@WAYS
def test_full_disk_is_one_message_and_pythons_flush_is_quiet(
    monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(OutputError) as failed:
            write("xy")
        monkeypatch.undo()
    what, hint = str(failed.value).splitlines()
    assert what == "the output cannot be written: No space left on device"
    assert hint.startswith("  Make room ")
    assert failed.value.exit_code == 1


def test_printer_writes_no_escape_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as reader, os.fdopen(write, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert stdio.Printer().write("a\x1b[2Jb\u202e\n", endless)
        stdout.close()
        assert reader.read() == b"a?[2Jb?\n"
