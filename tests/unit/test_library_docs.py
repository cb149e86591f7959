# SPDX-License-Identifier: MIT
"""The examples of docs/library.md that need no kernel print what the page says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import kwalk
from kwalk.options.keywords import Choices
from page_examples import PAGE, RECORDING, Example, examples, run


@pytest.mark.parametrize(
    "example", examples("", "pandas"), ids=lambda example: f"line {example.line}"
)
def test_example_prints_what_the_page_says(
    example: Example,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if example.kind == "pandas":
        pytest.importorskip("pandas", reason="pandas is not installed")
    shutil.copy(RECORDING, tmp_path)
    monkeypatch.chdir(tmp_path)
    run(example)
    assert example.prints
    assert capsys.readouterr().out == example.prints


def test_examples_of_the_page_are_all_run() -> None:
    found = list(examples("", "pandas", "tracing"))
    assert len(found) == PAGE.read_text().count("```python") >= 8
    assert {example.kind for example in found} == {"", "pandas", "tracing"}


def test_page_names_every_choice_and_no_other() -> None:
    table = PAGE.read_text().split("## Options")[1].split("## Profiles")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {span.split("=")[0] for row in rows for span in re.findall("`(.+?)`", row)}
    assert named == set(Choices.__annotations__)


def test_page_names_what_is_public() -> None:
    text = PAGE.read_text()
    missing = [name for name in kwalk.__all__ if name not in text]
    assert set(missing) <= {"Choices", "Stream", "Summary", "Timeline", "Trace", "Verify", "Who",
                            "Ledger", "__version__"}  # fmt: skip
