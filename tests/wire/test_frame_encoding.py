"""Frames that are sent: in Python and in C, held to frames made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pagent.wire import frame_encoding, frames, native
from pagent.wire.frames import BINARY, TEXT
from tests.wire.test_frames import KEY, frame


def test_keys_of_masks_do_not_repeat() -> None:
    keys = {frames.masked_frame(BINARY, b"")[2:6] for _ in range(3000)}
    assert len(keys) > 2990


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536, 70000])
@pytest.mark.parametrize(
    "routine", [frame_encoding.binary_frame_in_python, *([native.binary_frame] if native.binary_frame else [])]
)
def test_a_binary_frame_of_two_parts(routine: Any, length: int) -> None:
    head, rest = b"h" * (length // 3), memoryview(b"r" * (length - length // 3))
    assert routine(head, rest) == frame(0x82, head + bytes(rest))
    for wrong in ((head, "text"), (None, head)):
        with pytest.raises(TypeError):
            routine(*wrong)


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536, 70000])
@pytest.mark.parametrize(
    "routine", [frame_encoding.binary_head_in_python, *([native.binary_head] if native.binary_head else [])]
)
def test_the_head_of_a_binary_frame_of_two_parts(routine: Any, length: int) -> None:
    head, rest = b"h" * min(length, 20), memoryview(b"r" * (length - min(length, 20)))
    assert routine(head, rest) + bytes(rest) == frame(0x82, head + bytes(rest))
    for wrong in ((None, head), (head, None), (1, head)):
        with pytest.raises(TypeError):
            routine(*wrong)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 125, 126, 65535, 65536, 70001])
@pytest.mark.parametrize(
    "routine", [frame_encoding.masked_frame_in_python, *([native.masked_frame] if native.masked_frame else [])]
)
def test_a_masked_frame_of_two_parts(routine: Any, length: int) -> None:
    payload = bytes(range(256)) * 300
    for cut in {0, 1, 2, 3, length // 2, length} & set(range(length + 1)):
        made = routine(TEXT, KEY, payload[:cut], memoryview(payload)[cut:length])
        assert made == frame(0x81, payload[:length], masked=True)
    for wrong in ((TEXT, KEY, "text", b""), ("1", KEY, b"", b""), (TEXT, KEY, b"", None)):
        with pytest.raises((TypeError, ValueError)):
            routine(*wrong)
