#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rules of CONTRIBUTING.md that no other tool of ``make lint`` checks.

- A name of a public class stands for one class in all of src/kwalk.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src" / "kwalk"


def classes_of_one_name(sources: Path) -> Iterator[str]:
    """Yield a line for each name that several public classes of modules below ``sources`` have."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(sources.rglob("*.py")):
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(f"{path.relative_to(sources)}:{node.lineno}")
    for name, places in found.items():
        if len(places) > 1:
            yield f"class {name} is defined in {', '.join(places)}: give each a name of its own"


def main() -> int:
    """Print what breaks a rule; return 1 if anything does."""
    faults = list(classes_of_one_name(SOURCES))
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
