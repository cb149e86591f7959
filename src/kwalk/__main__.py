# SPDX-License-Identifier: MIT
"""Entry points of the scripts; ``python -m kwalk`` is ``kwalk``.

Imports are inside of them: what is imported takes long enough for Ctrl-C to come meanwhile. The
installed scripts (scripts/) have seen to that before they import this.
"""

import os
import signal
import sys
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _quiet() -> None:
    """Let Ctrl-C end what is not in ``cli.main.guarded``, without a traceback."""
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
