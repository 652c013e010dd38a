"""The figures of an agent's host, as the agent gives them (docs/contract.rst, "Host")."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class HostReport(NamedTuple):
    """None for figures that the agent does not send. Memory and disk in bytes, times in epoch seconds.

    ``load``: processes that run or wait. ``jobs``: of all owners.
    """

    cpus: float | None = None
    load: float | None = None
    memory_total: float | None = None
    memory_available: float | None = None
    disk_free: float | None = None
    disk_total: float | None = None
    jobs: int = 0
    jobs_max: int | None = None
    version: str | None = None
    started_at: float | None = None
    cordoned: bool = False
    deadline: float | None = None

    @property
    def load_per_cpu(self) -> float:
        """Return the load for each CPU; 0 if it is not known."""
        return self.load / self.cpus if self.load is not None and self.cpus and self.cpus > 0 else 0.0

    @property
    def is_short(self) -> bool:
        """Return whether memory or disk are nearly used up; False if their figures are not known."""
        memory = _is_below(self.memory_available, self.memory_total, _MEMORY_LEAST)
        return memory or _is_below(self.disk_free, self.disk_total, _DISK_LEAST)


#: The parts of memory and of the disk that must be left on a host for a new job.
_MEMORY_LEAST: Final = 0.05
_DISK_LEAST: Final = 0.02


def _is_below(left: float | None, total: float | None, part: float) -> bool:
    return left is not None and total is not None and total > 0 and left < total * part


def _number(value: Any) -> float | None:
    """Return a number; None for one without an order, such as NaN, and for other types."""
    return value if type(value) in (int, float) and math.isfinite(value) else None


def parse_report(value: Any) -> HostReport:
    """Return the figures in an answer of ``host_info``. A figure of another type counts as not given."""
    given: Mapping[Any, Any] = value if isinstance(value, dict) else {}
    numbers = {name: number for name in _NUMBERS if (number := _number(given.get(name))) is not None}
    jobs, most, version = given.get("jobs"), given.get("jobs_max"), given.get("version")
    return HostReport(
        **numbers,
        jobs=jobs if type(jobs) is int else 0,
        jobs_max=most if type(most) is int else None,
        version=version[:_VERSION_MAX] if isinstance(version, str) else None,
        cordoned=given.get("cordoned") is True,
    )


_VERSION_MAX: Final = 64
_NUMBERS: Final = (
    "cpus",
    "load",
    "memory_total",
    "memory_available",
    "disk_free",
    "disk_total",
    "started_at",
    "deadline",
)
