# SPDX-License-Identifier: MIT
"""docs/architecture.md against the code: layers, paths, and the imports of its stories."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
SOURCES = ROOT / "src" / "kwalk"


def section(heading: str) -> str:
    return PAGE.split(f"\n{heading}\n")[1].split("\n#")[0]


def imports(module: str) -> set[str]:
    """Modules of kwalk that a module imports, wherever in it, as paths below src/kwalk."""
    found = set()
    for node in ast.walk(ast.parse((SOURCES / module).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            path = f"{name.removeprefix('kwalk.').replace('.', '/')}.py"
            if name.startswith("kwalk.") and (SOURCES / path).exists():
                found.add(path)
    return found


def test_layers_of_the_page_are_those_that_lint_holds() -> None:
    drawn = re.findall(r"^  (\w+(?: \| \w+)*)(?:  .*)?$", PAGE.split("```")[1], re.M)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (c["layers"] for c in contracts["contracts"] if c["type"] == "layers")
    assert drawn == layers


def test_every_package_has_its_row() -> None:
    table = section("## What is where")
    packages = {path.parent.name for path in SOURCES.glob("*/__init__.py")}
    missing = {name for name in packages if f"`src/kwalk/{name}/`" not in table}
    assert not missing
    headers = {path.relative_to(ROOT).as_posix() for path in (ROOT / "bpf" / "trace").glob("*.h")}
    assert not {name for name in headers if f"`{name}`" not in table}


def test_files_that_the_page_names_exist() -> None:
    # In a row of a folder, modules are named without it.
    places = [
        ROOT,
        SOURCES,
        *SOURCES.glob("*/"),
        *SOURCES.glob("*/*/"),
        *(ROOT / "bpf").rglob("*/"),
    ]
    places += [ROOT / "tests", ROOT / "bpf"]
    names = set(re.findall(r"`((?:[\w.-]+/)*[\w-]+(?:\.bpf)?\.(?:py|c|h|sh|js|html))`", PAGE))
    assert len(names) > 100
    kernels = re.compile(r"(arch/x86/|kernel/|include/|net/|tools/)")  # of the kernel's tree
    missing = {
        name
        for name in names
        if not any((place / name).exists() for place in places) and not kernels.match(name)
    }
    assert not missing


@pytest.mark.parametrize("heading", ["### A command line to its run"])
def test_stories_import_downwards(heading: str) -> None:
    rows = [line.split("|")[1] for line in section(heading).splitlines() if line.startswith("| `")]
    stays = [re.findall(r"`([\w/]+\.py)`", row) for row in rows]
    assert len(stays) > 5
    order = [module for stay in stays for module in stay]
    for at, module in enumerate(order):
        found = imports(module)
        assert not found & set(order[:at]), f"{module} imports a module above it"
        above = set().union(*map(imports, order[:at]))
        # Commands are imported by name.
        reached = module in above or module.startswith("cli/commands/") or not at
        assert reached, f"no module above imports {module}"
