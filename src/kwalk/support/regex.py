# SPDX-License-Identifier: MIT
"""Regular expressions that users give."""

from __future__ import annotations

import re
import warnings


class BadPattern(ValueError):
    """A text that is no regular expression; its own text says why."""


def compiled(text: str, flags: int = 0) -> re.Pattern[str]:
    """Return a regular expression.

    Python's module re searches by backtracking: an expression can take time that grows
    exponentially with the length of a name. Those that one gives oneself are not limited; Ctrl-C
    ends a search.

    :raises BadPattern: if it is none, or more than Python can compile.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "[[a]" will mean something else some day
            return re.compile(text, flags)
    except re.error as error:
        raise BadPattern(str(error)) from None
    except (OverflowError, ValueError) as error:
        raise BadPattern(f"a number in it is too large ({error})") from None
    except RecursionError:
        raise BadPattern("it is nested too deeply") from None
    except MemoryError:
        raise BadPattern("it takes more memory than there is") from None
