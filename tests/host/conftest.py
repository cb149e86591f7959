# SPDX-License-Identifier: MIT
"""What tests of bpf/ on this machine share. They need no kernel that traces, and no root."""

from __future__ import annotations

import os
from typing import Any

import pytest
from built import ROOT, build
from hypothesis import Phase, settings

# The same examples each time: a change of the code decides, not chance. KWALK_HOST_EXPLORE=N
# tries N others.
# Most of an example is a seed: there is nothing to be made smaller.
_COMMON: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "phases": [Phase.explicit, Phase.generate],
}
_examples = int(os.environ.get("KWALK_HOST_EXAMPLES", "15"))
settings.register_profile("host", derandomize=True, max_examples=_examples, **_COMMON)
settings.register_profile(
    "explore", max_examples=int(os.environ.get("KWALK_HOST_EXPLORE", "1000")), **_COMMON
)
settings.load_profile("explore" if "KWALK_HOST_EXPLORE" in os.environ else "host")


def pytest_configure(config: pytest.Config) -> None:
    """Without ``run.py`` around it, by one way, without sanitizers."""
    if "KWALK_HOST_OBJECT" not in os.environ:
        os.environ["KWALK_HOST_OBJECT"] = str(build("gcc", ROOT / "build" / "host" / "gcc"))
