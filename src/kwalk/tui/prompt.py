# SPDX-License-Identifier: MIT
"""Input line of the live view."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from kwalk.support.regex import BadPattern, compiled


@dataclass
class Prompt:
    """Input line with the text so far.

    :ivar fresh: No key was pressed yet: the first character replaces the proposed text.
    :ivar filters: The text filters rows by function name; otherwise it is the name of a file.
    """

    question: str
    text: str = ""
    filters: bool = False
    fresh: bool = True

    def press(self, key: str) -> None:
        """Handle an editing key."""
        if key == "backspace":
            self.text = self.text[:-1]
        elif key == "clear":
            self.text = ""
        elif len(key) == 1:
            self.text = key if self.fresh else self.text + key
        self.fresh = False


@lru_cache
def pattern_of(text: str) -> re.Pattern[str]:
    """Compile a regular expression; an invalid one matches its own text literally."""
    try:
        return compiled(text)
    except BadPattern:
        return re.compile(re.escape(text))
