"""The figures of the host that a router places jobs by: CPUs, load, memory, disk (docs/contract.rst, "Host")."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

from pagent import limits
from pagent.errors import StuckError
from pagent.jobs.cgroup import CgroupLoad, OwnCgroup, usable_cpus
from pagent.runtime.threads import ThreadPool

#: All callers within this time get the same figures.
_AGE_S: Final = 1.0
#: Seconds to look at the disk, after which its free space is not known.
_DISK_S: Final = 1.0


class Figures(NamedTuple):
    """``load``: processes that run or wait, or in a container the CPUs in use. Sizes in bytes; None if unknown."""

    cpus: float
    load: float
    memory_total: int
    memory_available: int
    disk_free: int | None
    disk_total: int | None


class HostFigures:
    """Reads the figures at most once a second. ``folder``: of the sandboxes, whose file system may hang."""

    def __init__(self, folder: Path) -> None:
        # For life.
        self._folder: Final = folder
        self._threads: Final = ThreadPool("figures of the host", 1)
        self._cgroup: Final = OwnCgroup.find()
        self._cgroup_load: Final = None if self._cgroup is None else CgroupLoad(self._cgroup.cpu_s, time.monotonic)
        # Of the last reading.
        self._figures: Figures | None = None
        self._read_at = 0.0

    async def read(self) -> Figures:
        """Return the figures, at most a second old."""
        if self._figures is None or time.monotonic() - self._read_at > _AGE_S:
            self._read_at = time.monotonic()
            self._figures = self._of_the_kernel(*await self._disk())
        return self._figures

    async def close(self) -> None:
        """Read no more."""
        await self._threads.close(0)

    async def _disk(self) -> tuple[int | None, int | None]:
        """Return the free bytes of the disk, and all of them."""
        try:
            return await self._threads.run(_disk_bytes, self._folder, limit_s=_DISK_S)
        except (StuckError, OSError):
            return None, None

    def _of_the_kernel(self, disk_free: int | None, disk_total: int | None) -> Figures:
        cpus, load = float(usable_cpus()), _load_average()
        total, available = _memory()
        if self._cgroup is not None and self._cgroup_load is not None:
            cpus, load = min(cpus, self._cgroup.cpus()), self._cgroup_load.read()
            most = self._cgroup.memory_max()
            if most < total:
                total = int(most)
                available = min(available, int(self._cgroup.memory_available()))
        return Figures(int(cpus) if cpus.is_integer() else cpus, load, total, available, disk_free, disk_total)


def _disk_bytes(folder: Path) -> tuple[int, int]:
    usage = shutil.disk_usage(folder)
    return usage.free, usage.total


def _load_average() -> float:
    """Return the load average of one minute; 0 where the system gives none."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return 0.0


def _memory() -> tuple[int, int]:
    """Return the machine's memory in bytes: all of it, and what new programs may take."""
    if not sys.platform.startswith("linux"):
        import psutil

        memory = psutil.virtual_memory()
        return int(memory.total), int(memory.available)
    rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = rows.get("MemAvailable", rows["MemFree"])  # a sandboxed kernel may not estimate it
    total, available = (int(text.split()[0]) * limits.KIB for text in (rows["MemTotal"], free))
    return total, available
