# SPDX-License-Identifier: MIT
from __future__ import annotations

from pathlib import Path

import pytest

from style import (
    BANNED,
    CHECKED,
    ROOT,
    Prose,
    banned,
    c_prose,
    classes_of_one_name,
    faults_of_language,
    python_prose,
)

# For each pattern a text that breaks the rule, and one that does not.
EXAMPLES = [
    ("How groups are told apart.", "The lines are far apart."),
    ("It tells the two stacks apart.", "It tells the reader to wait apart from errors."),
    ("The symbol is that of the byte before.", "A symbol that offers no size."),
    ("Keep only those that match.", "Keep those frames only."),
    ("The file is no recording.", "There is no recording, and it is no longer there."),
    ("These are no frames.", "There are no frames."),
    ("If the text is none.", "If there is none."),
    ("The name that was asked for.", "Ask the kernel for the name."),
    ("Return what is shown.", "Return whatever is shown."),
    ("A header that cannot be had.", "A header that cannot be read."),
    ("1 event in so many is compared.", "There are so many that some are dropped."),
    ("The kallsyms of now.", "The time of day, known by the kernel."),
    ("It has ended by then.", "Divide by the number."),
    ("Hits that were left alone.", "A frame alone is on the left."),
    ("It is somebody else's file.", "It is another user's file."),
    ("For whoever reads it.", "Whether it is read."),
    ("An order that cannot be.", "An order that cannot be kept."),
]


@pytest.mark.parametrize(("hit", "other"), EXAMPLES)
def test_banned_phrase_is_found_and_plain_text_is_not(hit: str, other: str) -> None:
    assert [*banned(hit)]
    assert not [*banned(other)]


def test_every_banned_pattern_has_an_example() -> None:
    found = {advice for hit, _ in EXAMPLES for _, advice in banned(hit)}
    assert found == set(BANNED.values())


@pytest.mark.parametrize("word", ["What", "Whose", "Those", "Of", "As"])
def test_openings_are_banned_at_the_start_of_a_sentence_field_or_item(word: str) -> None:
    found = [(word, "begin with a noun or a verb")]
    assert [*banned(f"{word} x.")] == found
    assert [*banned(f"A name. {word} x.")] == found
    assert [*banned(f"A name.\n\n{word} x.")] == found
    assert [*banned(f"A name.\n- {word} x.")] == found
    assert [*banned(f":param a: {word} x.")] == found
    assert not [*banned(f"A name {word} x: the {word.lower()} x.")]


def test_lower_case_opening_is_banned_in_comments_alone() -> None:
    assert [*banned("whose call it was")] == [("whose", "begin with a noun or a verb")]
    assert not [*banned("of 3 stacks", is_comment=False)]


def test_python_prose_is_docstrings_comments_and_strings_of_several_words() -> None:
    source = '''"""A module
of two lines.

:param a: A field.
"""
# A comment
# of two lines.
x = f"about {1} stacks"  # Beside code.
y = "one two" "three"
z = "word"
'''
    assert sorted(python_prose(source)) == [
        Prose(1, "A module of two lines.\n\n:param a: A field.", True),
        Prose(6, "A comment of two lines.", True),
        Prose(8, "Beside code.", True),
        Prose(8, "about {} stacks", False),
        Prose(9, "one twothree", False),
    ]


def test_c_prose_is_comments() -> None:
    source = "int a; /* One. */\n/*\n * Two\n * lines.\n */\nint b; // Three.\n"
    assert [*c_prose(source)] == [
        Prose(1, "One.", True),
        Prose(2, "Two lines.", True),
        Prose(6, "Three.", True),
    ]


def test_faults_of_language_name_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.py").write_text("x = 1\n# Of a CPU.\n")
    (tmp_path / "a" / "two.bpf.h").write_text("/* What it is. */\n")
    (tmp_path / "a" / "notes.md").write_text("What it is.\n")
    (tmp_path / "other.py").write_text("# Of a CPU.\n")
    (tmp_path / "named.py").write_text('"""A file that is no module."""\n')
    assert [*faults_of_language(tmp_path, ("a", "named.py"))] == [
        'a/one.py:2: "Of": begin with a noun or a verb',
        'a/two.bpf.h:1: "What": begin with a noun or a verb',
        'a/two.bpf.h:1: "What it": name the thing',
        'named.py:1: "is no module": say is not a',
    ]


def test_checked_paths_exist() -> None:
    assert [name for name in CHECKED if not (ROOT / name).exists()] == []


def test_classes_of_one_name_are_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.py").write_text("class Node: ...\nclass _Own: ...\nclass Edge: ...\n")
    (tmp_path / "two.py").write_text("\n\nclass Node: ...\nclass _Own: ...\n")
    (found,) = classes_of_one_name(tmp_path)
    assert "class Node is defined in a/one.py:1, two.py:3" in found
