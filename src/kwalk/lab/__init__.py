# SPDX-License-Identifier: MIT
"""The lab: throw-away virtual machines in which everything that traces runs."""

from __future__ import annotations

from kwalk.lab.machine import MachineOptions, run

__all__ = ["MachineOptions", "run"]
