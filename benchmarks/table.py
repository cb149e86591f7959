# SPDX-License-Identifier: MIT
"""Write the README's table of figures from the results of ``make bench``.

Usage: ``python benchmarks/table.py [--check]``; with ``--check``, exit code 1 if it is out of date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
KERNELS = ("debian-13", "fp")
BEGIN, END = "<!-- figures: benchmarks/table.py -->\n", "<!-- end of figures -->\n"


def cell(row: dict[str, Any] | None) -> str:
    """Return change and cost of a row, and what it lost."""
    if row is None or "not_run" in row:
        return "\N{EN DASH} | \N{EN DASH}"
    change = f"{row['change']:.1f} %".replace("-", "\N{MINUS SIGN}")
    spent = row.get("instructions_per_event")
    text = f"{change} | {spent:,}" if spent else f"{change} | \N{EN DASH}"
    if row["lost"]:
        text += f" ({row['lost']:,} lost)"
    return text


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the table, a row a method, two columns a kernel."""
    lines = [
        "| |" + "".join(f" {name} {data['kernel']} | |" for name, data in results.items()),
        "|---|" + "---:|---:|" * len(results),
        "| |" + " redis | instructions |" * len(results),
        "| no tracing |"
        + "".join(f" {data['base_rps']:,.0f} req/s | |" for data in results.values()),
    ]
    names = list(dict.fromkeys(name for data in results.values() for name in data["rows"]))
    for name in names:
        cells = " | ".join(cell(data["rows"].get(name)) for data in results.values())
        lines.append(f"| {name} | {cells} |")
    versions = sorted({text for data in results.values() for text in data["versions"]})
    reasons = {
        f"{name}: {row['not_run']}"
        for data in results.values()
        for name, row in data["rows"].items()
        if "not_run" in row
    }
    notes = [f"Versions: {'; '.join(versions)}."] + [f"Not run: {why}." for why in sorted(reasons)]
    return "\n".join(lines) + "\n\n" + "\n".join(notes) + "\n"


def main(words: list[str]) -> int:
    """Bring the README up to date, or tell whether it is."""
    folder = ROOT / "benchmarks" / "results"
    results = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in KERNELS
        if (folder / f"{name}.json").exists()
    }
    readme = ROOT / "README.md"
    text = readme.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    new = head + BEGIN + table(results) + END + tail
    if words == ["--check"]:
        return int(new != text)
    readme.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
