# SPDX-License-Identifier: MIT
"""A profile as a table of pandas."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from recorded import BASE, profile, stack

from kwalk.errors import KwalkError
from kwalk.model.stack import Count, Frame, Group, Stack

UNKNOWN = Stack((BASE,), frames=(Frame("", 0, "", BASE),))
FOUND = profile(
    Count(UNKNOWN, 1, Group("pid", 7, "redis"), 10.5),
    Count(stack("ip_rcv", "b@overlay", "main", truncated=True, fallback=True), 20, None, 200.0),
    ring_full=3,
)
ROWS = [
    (1, 10.5, "redis (7)", (f"{BASE:#x}",), False, False),
    (20, 200.0, None, ("ip_rcv", "b [overlay]", "main"), True, True),
]


class Frame_:
    """As much of a DataFrame as is asked for here."""

    def __init__(self, rows: list[Any], columns: list[str]) -> None:
        self.rows, self.columns = rows, columns
        self.attrs: dict[str, Any] = {}


def test_table_has_a_row_per_stack_and_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Frame_))
    table = FOUND.to_pandas()
    assert table.rows == ROWS
    assert table.columns == ["count", "calls", "group", "frames", "truncated", "fallback"]
    assert table.attrs["kwalk"]["ledger"]["lost"] == {"ring_full": 3}
    assert table.attrs["kwalk"]["ledger"]["hits"] == 24
    assert table.attrs["kwalk"]["ledger"]["balance"] == 0
    assert table.attrs["kwalk"]["unit"] == "calls"
    assert table.attrs["kwalk"]["schema"] == "kwalk.summary/2"


def test_pandas_takes_it() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = FOUND.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert table["count"].sum() == 21
    assert list(table.itertuples(index=False, name=None))[1][3] == ROWS[1][3]
    assert profile().to_pandas().empty


def test_missing_pandas_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(KwalkError, match="pandas") as caught:
        FOUND.to_pandas()
    assert "pip install pandas" in caught.value.hint
