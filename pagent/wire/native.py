"""The routines in C of this floor; None where nothing is compiled: what they are for is done in Python then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

whole_frames: Callable[[Any, bool, int, int, int, list[tuple[int, Any]]], int] | None
binary_frame: Callable[[Any, Any], bytes] | None
masked_frame: Callable[[int, bytes, Any, Any], bytes] | None
mask: Callable[[bytes, Any], None] | None
take_apart: Callable[[Any, int], tuple[int, int, Any] | None] | None
with_id: Callable[[bytes, int, bytes], bytes] | None

try:
    from pagent.wire import _frames, _messages
except ImportError:
    whole_frames = binary_frame = masked_frame = mask = take_apart = with_id = None
else:
    whole_frames, binary_frame = _frames.whole_frames, _frames.binary_frame
    masked_frame, mask = _frames.masked_frame, _frames.mask
    take_apart, with_id = _messages.take_apart, _messages.with_id
