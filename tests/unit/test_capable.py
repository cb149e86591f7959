# SPDX-License-Identifier: MIT
"""docs/capabilities.md is what the tests in virtual machines found, and nothing else."""

from __future__ import annotations

import json

import capable

CELLS = {"samples": "CAP_SYSLOG, CAP_BPF", "tracepoint": "none"}


def test_page_has_each_kernels_cells_as_a_run_told_them() -> None:
    told = [f"{capable.SIGN}{json.dumps(pair)}\n" for pair in CELLS.items()]
    found = capable.read(["cell: []", *told, "2 passed"])
    assert found == CELLS
    kernels = {"one": found, "other": {**found, "samples": "CAP_SYS_ADMIN"}}
    text = capable.page(kernels)
    assert capable.parse(text) == kernels
    assert capable.differences({"other": kernels["other"]}, text) == []


def test_page_that_says_otherwise_is_told() -> None:
    text = capable.page({"one": CELLS})
    assert capable.differences({"one": {**CELLS, "samples": "none"}}, text) == [
        "one, samples: 'none', but docs/capabilities.md says 'CAP_SYSLOG, CAP_BPF' (make matrix)"
    ]
    assert len(capable.differences({"one": {"samples": CELLS["samples"]}}, text)) == 1
    assert len(capable.differences({"one": {**CELLS, "new": "none"}}, text)) == 1
    assert len(capable.differences({"new": CELLS}, text)) == 2
    assert len(capable.differences({}, text.replace("fewest", "most"))) == 1


def test_page_is_as_it_would_be_written_anew() -> None:
    text = capable.PAGE.read_text()
    kernels = capable.parse(text)
    assert kernels
    assert capable.differences(kernels, text) == []
