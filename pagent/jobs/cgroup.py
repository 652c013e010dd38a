"""The limits and the use of the cgroup (version 2) that this process is in: those of a container or of a batch job."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")

#: Time constant of the load, as that of the kernel's first load average.
_LOAD_S: Final = 60.0


class OwnCgroup:
    """The cgroup at ``folder`` with all that contain it, up to ``root``. A limit is the tightest of them."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder: Final = folder
        self._levels: Final = [folder, *folder.parents[: len(folder.relative_to(root).parts)]]

    @classmethod
    def find(cls, root: Path = _ROOT, own: Path = _OWN) -> OwnCgroup | None:
        """Return the cgroup of this process, None if it has none that limits memory or CPUs."""
        with suppress(OSError):
            for line in own.read_text().splitlines():
                if line.startswith("0::/") and ".." not in line.split("/"):  # not outside of our namespace
                    found = cls(root / line[4:].lstrip("/"), root)
                    return found if found.cpus() < math.inf or found.memory_max() < math.inf else None
        return None

    def cpus(self) -> float:
        """Return how many CPUs it may use, inf without a limit."""
        return min(_quota(_read(folder / "cpu.max")) for folder in self._levels)

    def memory_max(self) -> float:
        """Return the bytes of memory that it may use, inf without a limit."""
        return min(_limit(_read(folder / "memory.max")) for folder in self._levels)

    def memory_available(self) -> float:
        """Return the bytes of memory that it may still use, with the part of the page cache that is given up first."""
        return max(0.0, min(map(_available, self._levels)))

    def cpu_s(self) -> float:
        """Return the seconds of CPU time that it has used."""
        return _field(self._folder / "cpu.stat", "usage_usec") / 1e6


class CgroupLoad:
    """The load of a cgroup: the number of CPUs that it keeps busy, on average over about a minute."""

    def __init__(self, cpu_s: Callable[[], float], now: Callable[[], float]) -> None:
        self._cpu_s = cpu_s
        self._now = now
        self._last = cpu_s()
        self._last_at = now()
        self._load: float | None = None

    def read(self) -> float:
        """Return the load up to now. Call it at any time."""
        used, now = self._cpu_s(), self._now()
        passed = now - self._last_at
        if passed > 0:
            rate = max(0.0, used - self._last) / passed
            fading = math.exp(-passed / _LOAD_S)
            self._load = rate if self._load is None else self._load * fading + rate * (1 - fading)
            self._last, self._last_at = used, now
        return self._load or 0.0


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # the root has no limits; a controller may be off
        return ""


def _quota(text: str) -> float:
    most, _, period = text.partition(" ")
    with suppress(ValueError, ZeroDivisionError):
        return int(most) / int(period)
    return math.inf


def _limit(text: str) -> float:
    return float(int(text)) if text.strip().isdecimal() else math.inf  # "max" is none


def _field(file: Path, key: str) -> int:
    for line in _read(file).splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.isdecimal():
            return int(value)
    return 0


def _available(folder: Path) -> float:
    used = _read(folder / "memory.current").strip()
    given_up = _field(folder / "memory.stat", "inactive_file")
    return _limit(_read(folder / "memory.max")) - max(0, (int(used) if used.isdecimal() else 0) - given_up)


def usable_cpus() -> int:
    """Return the number of CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
