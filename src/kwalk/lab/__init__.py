# SPDX-License-Identifier: MIT
"""Lab: throw-away virtual machines for everything that traces."""

from __future__ import annotations

from kwalk.lab.machine import MachineOptions, run

__all__ = ["MachineOptions", "run"]
