# SPDX-License-Identifier: MIT
"""What tracing costs a workload: ways to trace, workloads, an experiment, its results."""
