"""The routines of this package in C; None where nothing is compiled. Python does the same then."""

from __future__ import annotations

from collections.abc import Callable

scan: Callable[[bytes, int, bytes], tuple[int, list[tuple[int, int, int]]]] | None

try:
    from pagent.http1 import _scan
except ImportError:
    scan = None
else:
    scan = _scan.scan
