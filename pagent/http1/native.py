"""The routines of this package in C; None where nothing is compiled. Python does the same then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

find_blank_line: Callable[[bytes, int], int] | None
read_lines: Callable[[bytes], tuple[str, list[list[str]]] | None] | None
scan: Callable[[bytes, bool, Any], tuple[str, int, bytes, list[tuple[int, str, str]]] | None] | None
write_lines: Callable[[str, list[Any]], bytes | None] | None

try:
    from pagent.http1 import _lines
except ImportError:
    find_blank_line = read_lines = scan = write_lines = None
else:
    find_blank_line, read_lines = _lines.find_blank_line, _lines.read_lines
    scan, write_lines = _lines.scan, _lines.write_lines
