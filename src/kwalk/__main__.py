# SPDX-License-Identifier: MIT
"""Entry points of the scripts; ``python -m kwalk`` is ``kwalk``.

They import the rest only after Ctrl-C is handled, as imports take long enough for it to arrive. The
installed scripts (scripts/) handle it even before they import this module.
"""

import os
import signal
import sys
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _quiet() -> None:
    """Make Ctrl-C end code outside of ``cli.main.guarded`` without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def kwalk() -> int:
    """Run ``kwalk``; return its exit code."""
    _quiet()
    from kwalk.cli.main import main

    return main()


def bpf_get_stack_test() -> int:
    """Run ``bpf_get_stack_test``; return its exit code."""
    _quiet()
    from kwalk.cli.published import main

    return main()


if __name__ == "__main__":
    sys.exit(kwalk())
