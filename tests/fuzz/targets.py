"""The fuzz targets. A target takes any bytes and returns; an error that it raises is a fault of the parser.

The first byte chooses how the rest is cut in two: wherever the cut is, the outcome has to be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pagent.errors import ProtocolError
from pagent.wire import messages
from pagent.wire.frames import FrameDecoder
from tests.http1.sinks import parse

#: Small, so that input of a fuzzer's size reaches it.
_MESSAGE_MAX = 4096


def _cut(data: bytes) -> tuple[bytes, list[bytes]]:
    rest = data[1:]
    place = data[0] * len(rest) // 256
    return rest, [rest[:place], rest[place:]]


def _same(whole: object, parts: object, pieces: list[bytes]) -> None:
    """AssertionError also where Python has no asserts."""
    if whole != parts:
        raise AssertionError(whole, parts, pieces)


def message(data: bytes) -> None:
    """A pRpc message is decoded, makes no sense, or breaks the protocol."""
    try:
        messages.decode(data)
    except (ProtocolError, messages.SenselessMessageError):
        return


def _with_what_was_left(decoder: FrameDecoder, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        while decoder.more:
            yield b""


def _decoded(pieces: Iterable[bytes], masked: bool) -> list[Any]:
    decoder = FrameDecoder(masked=masked, max_message=_MESSAGE_MAX)
    found: list[Any] = []
    try:
        for piece in _with_what_was_left(decoder, pieces):
            found += [
                (opcode, bytes(p) if isinstance(p, bytearray | memoryview) else p) for opcode, p in decoder.feed(piece)
            ]
            decoder.check()
    except ProtocolError as error:
        found.append(error.code)
    return found


def frames(data: bytes) -> None:
    """WebSocket frames, as they come from either role."""
    if not data:
        return
    whole, pieces = _cut(data)
    for masked in (False, True):
        _same(_decoded([whole], masked), _decoded(pieces, masked), pieces)


def response(data: bytes) -> None:
    """The response of a job."""
    if not data:
        return
    whole, pieces = _cut(data)
    for head_request in (False, True):
        one = parse([whole], head_request=head_request, eof=True)
        parts = parse(pieces, head_request=head_request, eof=True)
        if ("bad", True) in parts and parts[-2][0] == "complete":
            # Bytes after the response that arrive later: the connection is dropped, as it is if they arrive with it.
            parts = [*parts[:-2], ("complete", False)]
        _same(one, parts, pieces)


TARGETS: dict[str, Callable[[bytes], None]] = {"message": message, "frames": frames, "response": response}

#: To begin with, so that the fuzzer need not find out what a head looks like.
SEEDS: dict[str, list[bytes]] = {
    "message": [messages.call_start(1, 20, "job_create", [], {}), messages.result(1, None), messages.empty(3, 1)],
    "frames": [b"\x80\x82\x03abc", b"\x40\x02\x02ab\x80\x01c", b"\x10\x89\x00\x88\x02\x03\xe8", b"\xff\x81\x03abc"],
    "response": [
        b"\x80HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"\x40HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: x\r\n\r\n",
        b"\x20HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 204 No\r\nConnection: close\r\n\r\n",
    ],
}
