"""How many threads a training may use."""

import os
from pathlib import Path

from .signals import ignoring

_CGROUP = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Return how many cores this process may use: its affinity, quota and OMP_NUM_THREADS say."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    limits = str(cores), _quota(), os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(int(limit) for limit in limits if limit.isdecimal()))


def _quota() -> str:
    """Return how many cores the control group of a container pays for, rounded up, or ''."""
    cores = ""
    with ignoring(OSError, ValueError):  # there is no such file, or "max" in it
        quota, period = _CGROUP.read_text(encoding="ascii").split()
        cores = str(-(-int(quota) // int(period)))
    return cores
