# SPDX-License-Identifier: MIT
"""``python -m kwalk`` is ``kwalk``."""

import sys

from kwalk.cli import main

sys.exit(main())
