# SPDX-License-Identifier: MIT
"""Benchmark of tracing methods: the overhead on a workload."""
