# SPDX-License-Identifier: MIT
"""All of a profile as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kwalk.profile import Profile
from kwalk.report.count import SCHEMA, stacks_data
from kwalk.report.formats import Options
from kwalk.report.summary import as_data


def render(profile: Profile, options: Options) -> Iterator[str]:
    """Yield the object; ``timeline`` has how many calls there were in each interval."""
    totals = [0] * len(profile.timeline.ends)
    for interval, number in zip(profile.timeline.intervals, profile.timeline.numbers, strict=True):
        totals[interval] += number
    data = as_data(profile.summary, SCHEMA)
    data |= stacks_data(profile.counts, options.addresses is not False, options.top)
    data["timeline"] = {"ends": profile.timeline.ends, "counts": totals}
    data["facts"] = profile.facts
    yield json.dumps(data, separators=(",", ":")) + "\n"
