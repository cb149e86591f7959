# SPDX-License-Identifier: MIT
"""Writer of docs/capabilities.md: the fewest capabilities for each way of tracing, by kernel."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "capabilities.md"
SIGN = "capabilities: "
_HEAD = """# Capabilities instead of root

Written by `make matrix` from what the tests in `tests/vm/test_capabilities.py` found on each
kernel; `make test-all PARTS=long` fails where this page is not what they find.

The fewest capabilities with which a user other than root traces. Each is needed: without it kwalk
ends with a message that names it (or, with `--attach auto`, says so and goes another way). One way
to get them:

```
sudo setpriv --reuid "$USER" --init-groups --inh-caps +bpf,+perfmon,+syslog \\
    --ambient-caps +bpf,+perfmon,+syslog kwalk ip_rcv
```

Where the table names no value, `kernel.perf_event_paranoid` was 2 or makes no difference, and
`kernel.kptr_restrict` was 1.

"""
_TAIL = """
- `kernel.perf_event_paranoid` above 2 means something on kernels with a patch only, such as
  Debian's, which set 3: it leaves perf events (kprobes, samples, tracepoints of system calls) to
  CAP_SYS_ADMIN. `sysctl kernel.perf_event_paranoid=2` makes it as elsewhere.
- CAP_SYSLOG shows addresses in /proc/kallsyms. Where `kernel.kptr_restrict` is 0 and
  `kernel.perf_event_paranoid` at most 1, everybody sees them; where `kernel.kptr_restrict` is 2,
  nobody does.
- CAP_DAC_READ_SEARCH reads tracefs, which is root's: tracepoints of system calls have their
  numbers there. Other tracepoints are attached to by name.
- CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON. The types of modules, and what programs cost
  (a column of `kwalk top`, and `kwalk bench`), the kernel tells to CAP_SYS_ADMIN only.
"""

Cells = dict[str, str]


def read(lines: Iterable[str]) -> Cells:
    """Return the cells in the output of a test run."""
    told = (line.strip().removeprefix(SIGN) for line in lines if line.startswith(SIGN))
    return dict(map(json.loads, told))


def page(kernels: Mapping[str, Cells]) -> str:
    """Return the page from the cells of each kernel."""
    lines = [f"| what | {' | '.join(kernels)} |", "|---" * (1 + len(kernels)) + "|"]
    for what in dict.fromkeys(what for cells in kernels.values() for what in cells):
        found = [cells.get(what, "not run") for cells in kernels.values()]
        lines.append(f"| {what} | {' | '.join(found)} |")
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def parse(text: str) -> dict[str, Cells]:
    """Return the cells of a page, by kernel."""
    table = [line.strip("| \n").split(" | ") for line in text.splitlines() if line[:2] == "| "]
    head, *rows = table or [[]]
    return {
        kernel: {row[0]: row[1 + column] for row in rows} for column, kernel in enumerate(head[1:])
    }


def differences(kernels: Mapping[str, Cells], text: str) -> list[str]:
    """Return the cells of a page that differ from a run, for the kernels that ran.

    :param text: The page.
    """
    said = parse(text)
    found = [
        f"{kernel}, {what}: {cells.get(what, 'nothing')!r}, but docs/{PAGE.name} says "
        f"{said.get(kernel, {}).get(what, 'nothing')!r} (make matrix)"
        for kernel, cells in kernels.items()
        for what in {**cells, **said.get(kernel, {})}
        if cells.get(what) != said.get(kernel, {}).get(what)
    ]
    if page(said) != text:
        found.append(f"docs/{PAGE.name} is not as tests/{Path(__file__).name} writes it")
    return found
