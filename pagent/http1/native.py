"""The routines of this package in C; None where nothing is compiled. Python does the same then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

read_lines: Callable[[bytes], tuple[str, list[list[str]]] | None] | None
write_lines: Callable[[str, list[Any]], bytes | None] | None
scan: Callable[[bytes, int, bytes], tuple[int, list[tuple[int, int, int]]]] | None

try:
    from pagent.http1 import _lines, _scan
except ImportError:
    read_lines = write_lines = scan = None
else:
    read_lines, write_lines = _lines.read_lines, _lines.write_lines
    scan = _scan.scan
