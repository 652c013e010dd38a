from typing import Any

def whole_frames(
    data: bytes | bytearray | memoryview, masked: bool, longest: int, lend_from: int, messages: list[tuple[int, Any]], /
) -> int: ...
