# SPDX-License-Identifier: MIT
"""Settings common to the tests of bpf/ on this machine; they need neither root nor tracing."""

from __future__ import annotations

import os
from typing import Any

import pytest
from built import ARCH, HERE, ROOT, build, test_files
from hypothesis import Phase, settings

# The same examples each time, so that results change with the code only. KWALK_HOST_EXPLORE=N
# tries N new ones. No shrinking: most of an example is a seed.
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

collect_ignore = [str(path) for path in HERE.rglob("test_*.py") if path not in test_files(ARCH)]


def pytest_configure(config: pytest.Config) -> None:
    """Outside of ``run.py`` build with gcc, without sanitizers."""
    if "KWALK_HOST_OBJECT" not in os.environ:
        os.environ["KWALK_HOST_OBJECT"] = str(build("gcc", ROOT / "build" / "host" / ARCH / "gcc"))
