from typing import Any

def whole_frames(
    data: bytes | bytearray | memoryview,
    masked: bool,
    longest: int,
    views_from: int,
    most: int,
    messages: list[tuple[int, Any]],
    /,
) -> int: ...
def mask(key: bytes, data: bytearray | memoryview, /) -> None: ...
def masked_frame(
    opcode: int, key: bytes, head: bytes | bytearray | memoryview, rest: bytes | bytearray | memoryview, /
) -> bytes: ...
def binary_frame(head: bytes | bytearray | memoryview, rest: bytes | bytearray | memoryview, /) -> bytes: ...
def binary_head(head: bytes | bytearray | memoryview, rest: bytes | bytearray | memoryview, /) -> bytes: ...
