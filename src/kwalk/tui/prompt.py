# SPDX-License-Identifier: MIT
"""A line that the user types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from kwalk.support.regex import BadPattern, compiled


@dataclass
class Prompt:
    """A question with the answer so far.

    :ivar fresh: Nothing was typed yet: the first character replaces the proposal.
    :ivar filters: It is what functions are to be called; else the name of a file.
    """

    question: str
    text: str = ""
    filters: bool = False
    fresh: bool = True

    def press(self, key: str) -> None:
        """Take a key that neither ends nor leaves it."""
        if key == "backspace":
            self.text = self.text[:-1]
        elif key == "clear":
            self.text = ""
        elif len(key) == 1:
            self.text = key if self.fresh else self.text + key
        self.fresh = False


@lru_cache
def pattern_of(text: str) -> re.Pattern[str]:
    """Return a regular expression, or what finds the text itself if it is none."""
    try:
        return compiled(text)
    except BadPattern:
        return re.compile(re.escape(text))
