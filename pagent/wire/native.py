"""The routines of this package in C; None where nothing is compiled. Python does the same then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

whole_frames: Callable[[Any, bool, int, int, int, list[tuple[int, Any]]], int] | None
binary_frame: Callable[[Any, Any], bytes] | None
binary_head: Callable[[Any, Any], bytes] | None
masked_frame: Callable[[int, bytes, Any, Any], bytes] | None
mask: Callable[[bytes, Any], None] | None
views: Callable[[memoryview], int] | None
bin_result: Callable[[int, bytes], bytes] | None
decode_common: Callable[[Any, int], tuple[int, int, Any] | None] | None
pack_common: Callable[[Any], bytes | None] | None
unpack_common: Callable[[Any, int, bool], Any] | None

try:
    from pagent.wire import _frames, _messages, _values
except ImportError:
    whole_frames = binary_frame = binary_head = masked_frame = mask = views = decode_common = None
    bin_result = pack_common = unpack_common = None
else:
    whole_frames, binary_frame, binary_head = _frames.whole_frames, _frames.binary_frame, _frames.binary_head
    masked_frame, mask, views = _frames.masked_frame, _frames.mask, _frames.views
    bin_result, decode_common = _messages.bin_result, _messages.decode_common
    pack_common, unpack_common = _values.pack_common, _values.unpack_common
