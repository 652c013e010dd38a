"""``python -m bench.micro``: the parts of the agent that do no I/O, one by one, in nanoseconds of CPU time."""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

from bench import wire
from bench.report import number, surroundings, table
from pagent.http1.chunked import ChunkedDecoder
from pagent.http1.heads import ResponseHead
from pagent.http1.request_cache import RequestHeadCache
from pagent.http1.response import ResponseParser
from pagent.wire import frames, messages
from pagent.wire.window import ReceiveWindow

_SMALL: Final = 64
_LARGE: Final = 64 * 1024
_ROUNDS: Final = 7
_ROUND_S: Final = 0.05

Part = Callable[[], object]


class _Nowhere:
    """A sink of responses."""

    def head(self, head: ResponseHead, /) -> None:
        pass

    def body(self, data: bytes | memoryview, /) -> None:
        pass

    def trailers(self, fields: list[list[str]], /) -> None:
        pass

    def complete(self, reusable: bool, /) -> None:
        pass


def _decode_frames(size: int, *, masked: bool) -> Part:
    data = frames.masked_frame(frames.BINARY, bytes(size)) if masked else wire.frame(2, bytes(size), masked=False)
    decoder = frames.FrameDecoder(masked=masked, max_message=1 << 20)
    return lambda: decoder.feed(data)


def _decode_message(size: int) -> Part:
    data = messages.stream_prefix(messages.RESPONSE_MESSAGE, 1000) + messages.bin_header(size) + bytes(size)
    return lambda: messages.decode(data)


def _start() -> Part:
    """Decode a call of ``http_request`` with a browser's fields."""
    args = ["5f0c2d", "GET", "/0123456789", [], list(wire.FIELDS)]
    payload = messages.call_start(1000, messages.BISTREAM, "http_request", args, {})
    return lambda: messages.decode(payload)


def _fields_out() -> Part:
    """Pack the fields of a response."""
    fields = [list(pair) for pair in wire.FIELDS]
    return lambda: messages.pack(fields)


def _request(*, varied: bool) -> Part:
    fields = tuple(wire.FIELDS)
    numbers = count()
    heads = RequestHeadCache()

    def encode(path: str) -> object:
        return heads.encode("GET", path, (), fields, authority="127.0.0.1", raw=False, upgrade=False)

    return (lambda: encode(f"/{next(numbers):010}")) if varied else (lambda: encode("/0123456789"))


def _response(head: bytes, body: bytes) -> Part:
    sink = _Nowhere()
    data = head + body
    return lambda: ResponseParser(sink, head_request=False).feed(data)


def _chunks(size: int, number: int) -> Part:
    data = (b"%x\r\n%b\r\n" % (size, bytes(size))) * number + b"0\r\n\r\n"

    def nowhere(piece: bytes | memoryview) -> None:
        pass

    return lambda: ChunkedDecoder(nowhere).feed(data, 0)


def _window() -> Part:
    window = ReceiveWindow()

    def message() -> None:
        window.arrived(_LARGE)
        window.used(_LARGE)

    return message


def parts() -> dict[str, Part]:
    """Return the names and functions to time. ``varied``: no two inputs are the same, and making them is timed, too."""
    payload = bytes(_LARGE)
    return {
        "frame in, 64 B, masked": _decode_frames(_SMALL, masked=True),
        "frame in, 64 B": _decode_frames(_SMALL, masked=False),
        "frame in, 64 KiB, masked": _decode_frames(_LARGE, masked=True),
        "frame in, 64 KiB": _decode_frames(_LARGE, masked=False),
        "frame out, 64 B, masked": lambda: frames.masked_frame(frames.BINARY, payload[:_SMALL]),
        "frame out, 64 KiB, masked": lambda: frames.masked_frame(frames.BINARY, payload),
        "frame header out": lambda: frames.frame_header(frames.BINARY, _LARGE),
        "stream message in, 64 B": _decode_message(_SMALL),
        "stream message in, 64 KiB": _decode_message(_LARGE),
        "stream message header out": lambda: (
            messages.stream_prefix(messages.RESPONSE_MESSAGE, 1000) + messages.bin_header(_LARGE)
        ),
        "call start in": _start(),
        "response fields out": _fields_out(),
        "result out, nil": lambda: messages.result(1000, None),
        "credit of a message": _window(),
        "request head out, same": _request(varied=False),
        "request head out, varied": _request(varied=True),
        "response in, 12 B": _response(wire.answer("200 OK", "Content-Length: 12", 'ETag: "0123456789"'), bytes(12)),
        "chunked in, 16 x 64 B": _chunks(_SMALL, 16),
        "chunked in, 64 KiB": _chunks(_LARGE, 1),
    }


def timed_ns(part: Part, round_s: float = _ROUND_S) -> list[float]:
    """Return the CPU nanoseconds of a call in each round."""
    part()
    calls = 1
    while _spent_ns(part, calls) < round_s * 1e9 / 4:
        calls *= 2
    return [_spent_ns(part, calls) / calls for _ in range(_ROUNDS)]


def _spent_ns(part: Part, calls: int) -> int:
    began = time.process_time_ns()
    for _ in range(calls):
        part()
    return time.process_time_ns() - began


def measured(round_s: float = _ROUND_S) -> dict[str, list[float]]:
    """Return the rounds of all parts, measured one after the other."""
    gc.disable()
    try:
        return {name: timed_ns(part, round_s) for name, part in parts().items()}
    finally:
        gc.enable()


def main() -> None:
    """Print the table. With a file name as the argument, also write the rounds there."""
    around: dict[str, Any] = surroundings({})
    found = measured()
    rows = [["part", "median ns", "least"]]
    rows += [[name, number(statistics.median(rounds)), number(min(rounds))] for name, rounds in found.items()]
    sys.stdout.write(f"{around['time']}, commit {around['commit']}\n\n" + table(rows, left={0}))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps({**around, "parts_ns": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
