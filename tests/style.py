#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rules of CONTRIBUTING.md that no other tool of ``make lint`` checks.

- A name of a public class stands for one class in all of src/kwalk.
- Docstrings, comments and messages name a thing instead of circumscribing it (``BANNED``).
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src" / "kwalk"

# Folders with checked language.
CHECKED = ("src/kwalk", "bpf")

# Regular expression, which ignores case -> advice.
BANNED = {
    r"\b(?:tell|tells|told)(?: \S+){0,3}? apart\b": "say distinguish, or aggregate by",
    r"\bthat of\b": "repeat the noun, or use a genitive",
    r"\bthose (?:that|which|who|of)\b": "name the things",
    r"(?<!there )\b(?:is|are) no (?!longer\b|more\b|less\b)[a-z]+": "say is not a",
    r"(?<!there )\b(?:is|are|was|were) none\b": "say which condition fails",
    r"\basked (?:for|about|of)\b": "say requested, given, or set",
    r"\bwhat (?:is|are|was|were|can|cannot|has|had|it|they|there)\b": "name the thing",
    r"\b(?:to|can|cannot|could) be had\b": "say available",
    r"\bso (?:many|much)\b(?! that\b)": "give the number its name",
    r"\b(?:of|by) (?:now|then)\b": "say current, already, or previous",
    r"\bleft alone\b": "say skipped, or unchanged",
    r"\b(?:who(?:m)?ever|somebody)\b": "name the program, the process, or the user",
    r"\b(?:cannot|can't) be(?=[.,;:)]|\Z)": "say cannot be done, made, read",
}
# First words of a sentence, a field, a list item; in lower case too at the start of a comment.
OPENING = r"(?:^(?:[-*] )?|[.:!?] )(?:What|Whose|Those|Of|As)\b"
OPENING_OF_COMMENT = r"\A(?:what|whose|those|of|as)\b"


class Prose(NamedTuple):
    """Text that people read: a docstring, a comment, or a string of several words.

    :ivar line: The line where it begins.
    :ivar text: The text, with its lines joined except before a list item or a field.
    :ivar is_comment: It documents code, rather than being printed.
    """

    line: int
    text: str
    is_comment: bool


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


def banned(text: str, is_comment: bool = True) -> Iterator[tuple[str, str]]:
    """Yield each banned phrase of a text, and the advice."""
    openings = [*re.finditer(OPENING, text, re.MULTILINE)]
    if is_comment:
        openings += re.finditer(OPENING_OF_COMMENT, text)
    for match in openings:
        yield match[0].lstrip("-*.:!? "), "begin with a noun or a verb"
    for pattern, advice in BANNED.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            yield match[0], advice


def faults_of_language(root: Path, checked: Iterable[str]) -> Iterator[str]:
    """Yield a line for each banned phrase in these files and folders below ``root``."""
    for name in checked:
        path = root / name
        files = [path] if path.is_file() else sorted(path.rglob("*.[pch]*"))
        for file in files:
            read = {".py": python_prose, ".c": c_prose, ".h": c_prose}.get(file.suffix)
            for line, text, is_comment in sorted(read(file.read_text())) if read else ():
                for phrase, advice in banned(text, is_comment):
                    yield f'{file.relative_to(root)}:{line}: "{phrase}": {advice}'


def python_prose(source: str) -> Iterator[Prose]:
    """Yield the docstrings, comments and strings of a Python module."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None
        if isinstance(node.body[0], ast.Expr)
    }
    in_fstring: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            in_fstring.update(node.values)
            parts = [str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values]
            yield Prose(node.lineno, _joined("".join(parts)), False)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value.strip()
            if node not in in_fstring and re.search(r"\s", text):
                yield Prose(node.lineno, _joined(text), node in docstrings)
    yield from _comments(source)


def _comments(source: str) -> Iterator[Prose]:
    """Yield the comments of a Python module; those on successive lines are one text."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        row, column = token.start
        alone = not token.line[:column].strip()
        if block and (row != last + 1 or not alone):
            yield Prose(first, _joined("\n".join(block)), True)
            block = []
        first = first if block else row
        last = row if alone else -1
        block.append(token.string.lstrip("#:! "))
    if block:
        yield Prose(first, _joined("\n".join(block)), True)


def c_prose(source: str) -> Iterator[Prose]:
    """Yield the comments of a C file."""
    for match in re.finditer(r"/\*(.*?)\*/|//([^\n]*)", source, re.DOTALL):
        text = re.sub(r"^\s*\*+ ?", "", match[1] or match[2] or "", flags=re.MULTILINE)
        yield Prose(source.count("\n", 0, match.start()) + 1, _joined(text), True)


def _joined(text: str) -> str:
    """Join the lines of a text, except before a list item, a field or a new paragraph."""
    lines = "\n".join(line.strip() for line in text.strip().splitlines())
    return re.sub(r"(?<!\n)\n(?![-*:\n])", " ", lines)


def main() -> int:
    """Print what breaks a rule; return 1 if anything does."""
    faults = [*classes_of_one_name(SOURCES), *faults_of_language(ROOT, CHECKED)]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
