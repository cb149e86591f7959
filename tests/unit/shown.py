# SPDX-License-Identifier: MIT
"""Commands that pages show: found, and taken out of the scripts that they are in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator


def shell_words(script: str) -> Iterator[list[str]]:
    """Iterate over the simple commands of a shell's script."""
    script = re.sub(r"(^|\s)#.*$", "", script.replace("\\\n", " "), flags=re.MULTILINE)
    lexer = shlex.shlex(script, posix=True, punctuation_chars=";|&<>\n")
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t", "", True
    words: list[str] = []
    skip = False
    for word in lexer:
        if set(word) <= set(";|&\n"):
            yield words
            words = []
        elif set(word) <= set("<>"):
            skip = True
        elif skip:
            skip = False
        else:
            words.append(word)
    yield words


def kwalks(script: str) -> Iterator[list[str]]:
    """Iterate over all commands of kwalk's in a script, also those within others."""
    for words in shell_words(script):
        while words and re.match(r"[A-Z]+=", words[0]):
            words = words[1:]
        if not words:
            continue
        name = words[0].rpartition("/")[2]
        if name in ("kwalk", "bpf_get_stack_test"):
            yield [name, *words[1:]]
            if words[1:3] == ["lab", "run"] and "--" in words:
                yield from kwalks(shlex.join(words[words.index("--") + 1 :]))
        elif name == "ssh":
            yield from kwalks(shlex.join(words[2:]))
        else:
            for word in words[1:]:
                if "kwalk " in word:
                    yield from kwalks(re.sub(r"\$\((.*)\)", r"\1", word))


def blocks(text: str) -> Iterator[str]:
    """Iterate over what a page shows to be typed."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "sh":
            yield block
        elif not language:
            yield from re.findall(r"^\$ (.*(?:\\\n.*)*)", block, re.MULTILINE)


def mentions(text: str) -> Iterator[str]:
    """Iterate over commands within sentences: arguments that go without saying may be missing."""
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`((?:kwalk|bpf_get_stack_test) [^`]*)`", rest):
        if not re.search(r"\[|\.\.\.|<TAB>|\{", code):  # a form, not a command
            yield re.sub(r"\s+", " ", code)
