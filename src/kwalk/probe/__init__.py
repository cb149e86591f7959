# SPDX-License-Identifier: MIT
"""Probes: find the functions, choose a method and a way of attaching, load, attach."""
