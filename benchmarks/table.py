# SPDX-License-Identifier: MIT
"""Write the README's table of figures from the results of ``make bench``.

Usage: ``python benchmarks/table.py [--check]``; with ``--check``, exit code 1 if it is out of date.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
KERNELS = ("debian-13", "debian-12", "fp")
MODES = {"count": "counting stacks", "stream": "printing every stack to a file"}
NAMES = {
    "once": "manual, --stacks once",
    "test-manual": "bpf_get_stack_test --manual",
    "test-helper": "bpf_get_stack_test --helper",
}
BEGIN, END = "<!-- figures: benchmarks/table.py -->\n", "<!-- end of figures -->\n"
# Rows of these have the program's version; NAME@LABEL is another one of the same program.
PROGRAMS = ("bpftrace", "bcc", "perf")
NONE = "\N{EN DASH}"

Results = dict[str, dict[str, Any]]


def signed(number: float) -> str:
    """Return a number with one decimal and its sign, if that is a minus."""
    return f"{number:.1f}".replace("-", "\N{MINUS SIGN}")


def cell(row: dict[str, Any] | None) -> str:
    """Return change with its interval, cost and missing calls of a row."""
    if row is None or "changes" not in row:
        return f"{NONE} | {NONE}"
    change = f"{signed(row['change'])} %"
    if len(row["changes"]) > 1:
        change += f" ({' … '.join(map(signed, row['interval']))})"
    cost = f"{row['cost_ns']:,}" if row["cost_ns"] else NONE
    missing = [f"{number:,} {what}" for what, number in losses(row).items() if number]
    return f"{change} | {cost} ({', '.join(missing)})" if missing else f"{change} | {cost}"


def losses(row: dict[str, Any]) -> dict[str, int | None]:
    """Return the calls that the tool says it lost, and those it lost without saying so."""
    calls = row.get("calls")
    if not calls:
        return {"lost": row["lost"][-1]}
    return {"lost": calls["lost"], "lost silently": calls["silent"]}


def label(name: str, rows: list[dict[str, Any]]) -> str:
    """Return a method's name in the table: of others' programs, with the version.

    :param rows: The method's rows, of any kernel.
    """
    program, _, suite = name.partition("@")
    version = next((row["version"] for row in rows if row.get("version")), "")
    if program not in PROGRAMS or not version:
        return NAMES.get(name, name)
    return f"{version} ({suite})" if suite else str(version)


def section(mode: str, results: Results) -> list[str]:
    """Return the rows of a mode, with two columns for each kernel."""
    methods = {
        kernel: {row["name"]: row for row in data["methods"]} for kernel, data in results.items()
    }
    names = list(dict.fromkeys(name for rows in methods.values() for name in rows))
    lines = [f"| *{MODES[mode]}* |" + " | |" * len(results)]
    for name in names:
        cells = " | ".join(cell(rows.get(name)) for rows in methods.values())
        found = [rows[name] for rows in methods.values() if name in rows]
        lines.append(f"| {label(name, found)} | {cells} |")
    return lines


def conditions(everything: list[dict[str, Any]]) -> str:
    """Return when, and in how many rounds, the results were measured."""
    rounds = sorted({len(data["base"]["rates"]) for data in everything})
    text = f"Rounds: {', '.join(map(str, rounds))}."
    dates = sorted({data["date"] for data in everything if "date" in data})
    if dates:
        text += f" Measured: {', '.join(dates)}."
    # Results of schema 1, the first without a date.
    old = {data["kernel"] for data in everything if "date" not in data}
    if old:
        text += (
            f" Figures of {', '.join(sorted(old))} are older than the rules above: losses are what "
            "the tools said, and their start-up work is included."
        )
    return text


def table(found: dict[str, Results]) -> str:
    """Return the table of all modes.

    :param found: Results by mode, then by kernel.
    """
    first = found["count"]
    lines = [
        "| |" + "".join(f" {name} {data['kernel']} | |" for name, data in first.items()),
        "|---|" + "---:|---:|" * len(first),
        "| |" + " redis | instructions |" * len(first),
        "| no tracing |"
        + "".join(
            f" {statistics.median(data['base']['rates']):,.0f} req/s | |" for data in first.values()
        ),
    ]
    everything = [data for results in found.values() for data in results.values()]
    for mode, results in found.items():
        lines += section(mode, {kernel: results[kernel] for kernel in first})
    versions = sorted({text for data in everything for text in data["versions"]})
    reasons = {
        f"{row['name']}: {row['not_run']}"
        for data in everything
        for row in data["methods"]
        if "not_run" in row
    }
    notes = [f"Versions: {'; '.join(versions)}."] + [f"Not run: {why}." for why in sorted(reasons)]
    notes.append(conditions(everything))
    return "\n".join(lines) + "\n\n" + "\n".join(notes) + "\n"


def main(words: list[str]) -> int:
    """Update the README, or check that it is up to date."""
    kernels = [
        name
        for name in KERNELS
        if all((RESULTS / f"{name}-{mode}.json").exists() for mode in MODES)
    ]
    found = {
        mode: {name: json.loads((RESULTS / f"{name}-{mode}.json").read_text()) for name in kernels}
        for mode in MODES
    }
    readme = ROOT / "README.md"
    text = readme.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    new = head + BEGIN + table(found) + END + tail
    if words == ["--check"]:
        return int(new != text)
    readme.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
