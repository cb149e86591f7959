# SPDX-License-Identifier: MIT
"""Settings common to the tests of bpf/ on this machine; they need neither root nor tracing."""

from __future__ import annotations

import os
from typing import Any

import pytest
from built import ARCH, ARCHITECTURES, ROOT, build
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

# Tests of generated programs, which are for x86-64 only, and of all architectures at once.
_X86_ONLY = ("test_hot.py", "test_hot_modes.py", "test_hot_near.py")
_OF_ALL = ("test_headers.py", "test_seam.py")
# Parts of a hit that do not depend on the architecture.
_GENERIC = tuple(f"test_{name}.py" for name in ["groups", "keys", "reading", "results", "wanted"])
collect_ignore = [arch for arch in ARCHITECTURES if arch != ARCH]
if ARCH != "x86":
    collect_ignore += [*_X86_ONLY, *_OF_ALL, *_GENERIC]


def pytest_configure(config: pytest.Config) -> None:
    """Outside of ``run.py`` build with gcc, without sanitizers."""
    if "KWALK_HOST_OBJECT" not in os.environ:
        os.environ["KWALK_HOST_OBJECT"] = str(build("gcc", ROOT / "build" / "host" / ARCH / "gcc"))
