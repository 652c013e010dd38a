"""The routines in C of this floor; None where nothing is compiled: what they are for is done in Python then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

WholeFrames = Callable[[Any, bool, int, int, list[tuple[int, Any]]], int]
StreamMessage = Callable[[Any, int], tuple[int, int, Any] | None]

whole_frames: WholeFrames | None
stream_message: StreamMessage | None

try:
    from pagent.wire import _frames, _messages
except ImportError:
    whole_frames = stream_message = None
else:
    whole_frames = _frames.whole_frames
    stream_message = _messages.stream_message
