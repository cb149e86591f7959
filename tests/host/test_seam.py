# SPDX-License-Identifier: MIT
"""The seam for architectures: bpf/arch/arch.h lists all that generic code uses of one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from built import ROOT

BPF = ROOT / "bpf"
GUIDE = (BPF / "arch/arch.h").read_text()
ARCHITECTURES = sorted(path for path in (BPF / "arch").iterdir() if path.is_dir())
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_DEFINED = re.compile(
    r"^(?:#define +(\w+)|(?:static __always_inline|static|__noinline) [\w *]*?(\w+)\()", re.M
)
_STRUCTS = re.compile(r"^struct (\w+) \{", re.M)


def code(path: Path) -> str:
    return _COMMENT.sub("", path.read_text())


def defined(path: Path) -> set[str]:
    """Names that a header defines: functions, macros and structures."""
    text = code(path)
    names = {macro or function for macro, function in _DEFINED.findall(text)}
    return {name for name in names if not name.startswith("KWALK_")} | set(_STRUCTS.findall(text))


def listed() -> dict[str, set[str]]:
    """The members that the guide lists, by header."""
    members: dict[str, set[str]] = {}
    header = ""
    for line in GUIDE.splitlines():
        if begun := re.match(r" \* (\w[\w.]*\.h): ", line):
            header = begun[1]
        elif header in required() and re.match(r" \*   \S", line):
            names = re.findall(r"\bstruct (\w+)$|\b((?:kw|KW)_\w+)(?=[(,]|$)", line)
            members.setdefault(header, set()).update(a or b for a, b in names)
    return members


def required() -> set[str]:
    """The headers of an architecture that generic code includes."""
    return {Path(path).name for path in re.findall(r'#define KW_ARCH_\w+ +"([^"]+)"', GUIDE)}


def used(folder: Path) -> set[str]:
    """Names that code outside of bpf/arch/ uses."""
    names: set[str] = set()
    for path in [*folder.rglob("*.h"), *folder.rglob("*.c")]:
        if "arch" not in path.relative_to(folder).parts:
            names |= set(re.findall(r"\w+", code(path)))
    return names


def test_guide_lists_members_of_six_headers() -> None:
    assert required() == {
        *("kernel.h", "regs.bpf.h", "fp.bpf.h", "step.bpf.h", "walk.bpf.h", "entry.bpf.h")
    }
    assert set(listed()) == required()
    assert sum(map(len, listed().values())) > 20


@pytest.mark.parametrize("folder", ARCHITECTURES, ids=lambda folder: folder.name)
def test_architecture_defines_all_members(folder: Path) -> None:
    for header, members in listed().items():
        assert members <= defined(folder / header)


@pytest.mark.parametrize("folder", ARCHITECTURES, ids=lambda folder: folder.name)
def test_generic_code_uses_no_other_names_of_an_architecture(folder: Path) -> None:
    own = set().union(*(defined(path) for path in folder.glob("*.h")))
    assert own & used(BPF) == set().union(*listed().values())


def test_no_other_file_tests_for_an_architecture() -> None:
    folders = "|".join(folder.name for folder in ARCHITECTURES)
    tests = re.compile(rf"__TARGET_ARCH|__x86_64__|__aarch64__|arch/({folders})/\w+(\.bpf)?\.h\"")
    places = {
        path.relative_to(BPF).parts[:2]
        for path in [*BPF.rglob("*.h"), *BPF.rglob("*.c")]
        if tests.search(code(path))
    }
    assert places == {("arch", "arch.h"), *(("arch", folder.name) for folder in ARCHITECTURES)}
