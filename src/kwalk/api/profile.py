# SPDX-License-Identifier: MIT
"""Profiles with methods for programs: open, narrow, merge, save, to_pandas."""

from __future__ import annotations

import os
import re
from typing import Any, Self

from kwalk.model import merge as merging
from kwalk.model.narrow import between, narrow
from kwalk.model.profile import ProfileData
from kwalk.options import validate
from kwalk.options.validate import named
from kwalk.recording import files


class Profile(ProfileData):
    """Counts by stack and group, and how they were captured; see ``model.profile.ProfileData``."""

    @classmethod
    def of(cls, data: ProfileData) -> Self:
        """Return plain data as a profile, which shares its members."""
        return cls(data.counts, data.summary, data.timeline, data.facts)

    def __add__(self, other: Profile) -> Profile:
        """See ``model.merge.merge``."""
        return merge(self, other) if isinstance(other, Profile) else NotImplemented

    def __radd__(self, other: int) -> Profile:
        """Add to the 0 that ``sum()`` starts with."""
        return self if other == 0 else NotImplemented

    def narrow(
        self,
        *,
        from_caller: str | re.Pattern[str] | None = None,
        until: str | None = None,
        group: str | re.Pattern[str] | None = None,
        apart: bool = True,
        seconds: tuple[float, float] | None = None,
    ) -> Profile:
        """Return a part of the profile, as ``kwalk report`` does with the options of these names.

        :param apart: Whether to keep groups apart; else each stack has one count.
        :param seconds: Start and end, in seconds since the capture began.
        :raises UsageError: if a value is invalid, or the profile has no such time.
        """
        through = named("from_caller", validate.expression, from_caller)
        wanted = named("group", validate.expression, group)
        outermost = named("until", validate.glob, until)
        apart = named("apart", validate.truth, apart)
        times = named("seconds", validate.span, seconds)
        return narrow(between(self, *times) if times else self, through, outermost, wanted, apart)

    def save(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> None:
        """Write a recording, as ``kwalk record`` does.

        :raises KwalkError: if the file cannot be written, or the profile exceeds a limit.
        """
        files.save(self, path)

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame``; see ``report.table.to_pandas``.

        :raises KwalkError: if pandas is not installed.
        """
        from kwalk.report import table  # which takes long to import

        return table.to_pandas(self)


def open(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> Profile:
    """Return the profile of a recording.

    :raises KwalkError: if the file cannot be read; ``BrokenRecording`` if it is not a recording.
    """
    return Profile.of(files.load(path))


def merge(*profiles: ProfileData) -> Profile:
    """Return the sum of profiles; see ``model.merge.merge``."""
    return Profile.of(merging.merge(profiles))
