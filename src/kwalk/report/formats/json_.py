# SPDX-License-Identifier: MIT
"""All of a profile as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kwalk.profile import Profile
from kwalk.report.count import SCHEMA, stacks_data
from kwalk.report.formats import Options
from kwalk.report.spread import spread
from kwalk.report.summary import as_data


def render(profile: Profile, options: Options) -> Iterator[str]:
    """Yield the object.

    ``timeline`` has how many calls were taken in each interval, as ``counts``, and how many calls
    there were, as ``scaled``, where not every call was taken.
    """
    data = as_data(profile.summary, SCHEMA)
    data |= stacks_data(profile.counts, options.addresses is not False, options.top)
    timeline = profile.whole_timeline()
    data["timeline"] = {"ends": timeline.ends, "counts": timeline.totals()}
    if timeline.ends and any(count.scaled is not None for count in profile):
        data["timeline"]["scaled"] = spread(profile).totals()
    data["facts"] = profile.facts
    yield json.dumps(data, separators=(",", ":")) + "\n"
