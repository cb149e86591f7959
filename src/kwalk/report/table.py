# SPDX-License-Identifier: MIT
"""Profile as a table of stacks, for pandas."""

from __future__ import annotations

import importlib
from typing import Any

from kwalk.errors import KwalkError
from kwalk.model.profile import ProfileData
from kwalk.report.calltree import function_name
from kwalk.report.summary import as_data

COLUMNS = ("count", "calls", "group", "frames", "truncated", "fallback")


def rows(profile: ProfileData) -> list[tuple[int, float, str | None, tuple[str, ...], bool, bool]]:
    """Return a row of ``COLUMNS`` for each stack and group, the rarest first.

    ``frames`` are names, the traced function first: ``function``, ``function [module]``, or the
    address of a frame without a symbol. ``group`` is a text; without ``--per`` it is null (None).
    """
    return [
        (
            count.count,
            count.calls,
            str(count.group) if count.group else None,
            tuple(map(function_name, count.stack.frames)),
            count.stack.truncated,
            count.stack.fallback,
        )
        for count in profile
    ]


def to_pandas(profile: ProfileData) -> Any:
    """Return ``rows`` as a ``pandas.DataFrame``; ``attrs["kwalk"]`` has the summary and its ledger.

    :raises KwalkError: if pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise KwalkError(
            f"pandas cannot be imported: {error}",
            "Install it beside kwalk: pip install pandas.",
        ) from error
    frame = pandas.DataFrame(rows(profile), columns=list(COLUMNS))
    frame.attrs["kwalk"] = as_data(profile.summary, "kwalk.summary/2")
    return frame
