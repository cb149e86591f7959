# SPDX-License-Identifier: MIT
"""Text without control, escape and bidi characters."""

from __future__ import annotations

import io

import pytest

from kwalk.support.printable import CleanStream, plain, plain_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b\u00e9\n\tc", "a b\u00e9??c"),
        ("\x1b[31mred", "?[31mred"),
        ("a\u202eb\x00", "a?b?"),
    ],
)
def test_plain_replaces_what_cannot_be_printed(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("one\rtwo\n\tthree", "one?two\n\tthree"),
        ("\x1b[1mbold\x1b[m\x1b]0;title\x07\n", "?[1mbold?[m?]0;title?\n"),
    ],
)
def test_plain_lines_keep_line_feeds_and_tabs_only(text: str, shown: str) -> None:
    assert plain_lines(text) == shown
    out = io.StringIO(newline="")
    CleanStream(out).writelines([text])
    assert out.getvalue() == shown


def test_plain_lines_may_keep_styles_and_no_other_escapes() -> None:
    text = "\x1b[1mbold\x1b[m\x1b]0;title\x07\n"
    assert plain_lines(text, styles=True) == "\x1b[1mbold\x1b[m?]0;title?\n"
