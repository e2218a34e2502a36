"""How many processor cores this process may use."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""A container's share of the processor: microseconds a period, and the period; or "max"."""


def usable_cores() -> int:
    """Cores of this process: its affinity's and its container's, where the system tells them."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        share, period = _QUOTA.read_text().split()
        return max(1, min(cores, round(int(share) / int(period))))
    except (OSError, ValueError):  # no container, or no limit
        return cores
