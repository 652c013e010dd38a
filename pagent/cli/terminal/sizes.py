"""Numbers of bytes, for people."""

from __future__ import annotations

from typing import Final

from pagent.limits import GIB, KIB, MIB

_UNITS: Final = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))


def size_of(count: int) -> str:
    """Return a number of bytes in its largest suitable unit: ``12.3MiB``."""
    for size, unit in _UNITS:
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return f"{count}B"


def cell_of(count: int | None) -> str:
    """Return a number of bytes for a cell of a table: ``1.2G``, ``12M`` or ``3K``; ``-`` for one that is not known."""
    if count is None:
        return "-"
    return f"{count / GIB:.1f}G" if count >= GIB else f"{count / MIB:.0f}M" if count >= MIB else f"{count // KIB}K"


def use_of(free: int | None, total: int | None) -> str:
    """Return the part in use and the total, for a cell of a table: ``1.2/16.0G``; ``-`` if it is not known."""
    if free is None or total is None:
        return "-"
    return f"{(total - free) / GIB:.1f}/{total / GIB:.1f}G"
