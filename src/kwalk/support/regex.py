# SPDX-License-Identifier: MIT
"""Compilation of users' regular expressions."""

from __future__ import annotations

import re
import warnings


class BadPattern(ValueError):
    """Invalid regular expression; the message gives the reason."""


def compiled(text: str, flags: int = 0) -> re.Pattern[str]:
    """Compile a user's regular expression.

    Python's ``re`` backtracks: matching can take time exponential in the length of a name. Users
    are not protected against their own expressions; Ctrl-C ends a search.

    :raises BadPattern: if it is invalid, or exceeds what Python can compile.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FutureWarning for "[[a]"
            return re.compile(text, flags)
    except re.error as error:
        raise BadPattern(str(error)) from None
    except (OverflowError, ValueError) as error:
        raise BadPattern(f"a number in it is too large ({error})") from None
    except RecursionError:
        raise BadPattern("it is nested too deeply") from None
    except MemoryError:
        raise BadPattern("it needs more memory than is available") from None
