"""Lanes that make a call for each exchange, as a deployed router makes them: requests, files, archives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bench import wire
from bench.link import LinkDriver, bin_length, pack_id
from bench.pump import Pump
from bench.way import idle
from pagent.wire import messages

#: What follows the call id in a result of nil, and in the status 200.
_NIL_RESULT: Final = b"\xc4\x01\xc0\x00\xc0"
_STATUS_200: Final = b"\xcc\xc8"
#: Name of the file in the sandbox.
FILE: Final = "bench.bin"


class Call:
    """A lane that makes a call for each exchange. Subclasses count the messages and decide when it is complete."""

    __slots__ = ("_call_id", "_driver", "_packed_id", "_received", "_rest", "_start", "done")

    def __init__(self, driver: LinkDriver, call_type: int, method: str, args: list[Any]) -> None:
        self.done: Callable[[], None] = idle
        self._driver = driver
        self._rest: list[Any] = [call_type, method, args, {}]
        self._start = self._packed_start()
        self._call_id = 0
        self._packed_id = b""
        self._received = 0

    def _packed_start(self) -> bytes:
        """Return the bytes of the call start after its id."""
        return messages.pack(self._rest)[1:]  # without the head of the array, in which two elements are missing

    def send(self) -> None:
        driver = self._driver
        self._received = 0
        self._call_id = driver.next_id(self.message)
        self._packed_id = pack_id(self._call_id)
        driver.send(driver.frame(b"\x96\x02" + self._packed_id + self._start))
        self.begin()

    def begin(self) -> None:
        """Return the frames that follow the call start at once."""

    def message(self, kind: int, piece: bytes, at: int, length: int) -> None:
        raise NotImplementedError

    def cancel(self) -> None:
        """Abandon the call; its further messages are ignored."""
        del self._driver.calls[self._call_id]
        self._driver.send(self._driver.frame(bytes((0x92, messages.CALL_CANCEL)) + self._packed_id))

    def _send(self, kind: int, rest: bytes) -> None:
        self._driver.send(self._driver.frame(bytes((0x93, kind)) + self._packed_id + rest))

    def _finish(self) -> None:
        del self._driver.calls[self._call_id]
        self.done()

    def _fail(self, kind: int, piece: bytes) -> None:
        self._driver.fail(f"unexpected message of kind {kind}: {piece[:300]!r}")


class Request(Call):
    """``http_request`` whose answer has ``size`` bytes."""

    def __init__(
        self, driver: LinkDriver, job: str, method: str, target: str, size: int, *extra: tuple[str, str]
    ) -> None:
        super().__init__(driver, messages.BISTREAM, "http_request", [job, method, target, [], [*wire.FIELDS, *extra]])
        self._size = size

    def begin(self) -> None:
        self._send(messages.REQUEST_MESSAGE, b"\xc4\x00")

    def message(self, kind: int, piece: bytes, at: int, length: int) -> None:
        if kind == messages.RESPONSE_MESSAGE:
            tag = piece[at]
            if 0xC4 <= tag <= 0xC6:
                self._received += bin_length(piece, at, length)
            elif tag < 0x90 or tag in (0xC2, 0xCD) or (tag == 0xCC and not piece.endswith(_STATUS_200)):
                self._fail(kind, piece)
        elif kind == messages.RESULT and piece.endswith(_NIL_RESULT) and self._received == self._size:
            self._finish()
        else:
            self._fail(kind, piece)


class Events(Request):
    """The job's events. ``seen`` is called with the time at which the job wrote each."""

    def __init__(self, driver: LinkDriver, job: str, seen: Callable[[int], None]) -> None:
        super().__init__(driver, job, "GET", "/events", 0)
        self._seen = seen

    def message(self, kind: int, piece: bytes, at: int, length: int) -> None:
        if kind != messages.RESPONSE_MESSAGE:
            self._driver.fail(f"the events ended: {piece[:300]!r}")
        for time in wire.event_times(piece):
            self._seen(time)


class VariedGet(Request):
    """GETs of which no two are the same."""

    def __init__(self, driver: LinkDriver, job: str, size: int) -> None:
        super().__init__(driver, job, "GET", "", size)
        self._args: list[Any] = self._rest[2]

    def send(self) -> None:
        self._args[2] = wire.varied_target(self._size)
        self._start = self._packed_start()
        super().send()


class Body:
    """A body in messages of 64 KiB, as fast as the link takes them or at a rate, then ``end``."""

    def __init__(self, driver: LinkDriver, size: int, rate: float | None, end: Callable[[], None]) -> None:
        self._driver = driver
        self._end = end
        self._head = b""
        self._pump = Pump(size, rate, self._frame, driver.write_now, self._ended)

    def start(self, packed_id: bytes) -> None:
        self._head = bytes((0x93, messages.REQUEST_MESSAGE)) + packed_id + b"\xc6"
        self._driver.on_resume.append(self._pump.run)
        self._pump.start()

    def _frame(self, size: int) -> bytes:
        return self._driver.frame(self._head + size.to_bytes(4, "big") + wire.BLOCK[:size])

    def _ended(self) -> None:
        self._driver.on_resume.remove(self._pump.run)
        self._end()


class Put(Request):
    """``http_request`` with a body."""

    def __init__(self, driver: LinkDriver, job: str, size: int, rate: float | None) -> None:
        super().__init__(driver, job, "POST", "/bytes/0", 12, ("Content-Length", str(size)))
        self._body = Body(driver, size, rate, super().begin)

    def begin(self) -> None:
        self._body.start(self._packed_id)


class FilePut(Call):
    """``file_upload``."""

    def __init__(self, driver: LinkDriver, job: str, size: int) -> None:
        super().__init__(driver, messages.OSTREAM, "file_upload", [job, FILE])
        self._size = size
        self._body = Body(driver, size, None, self._end_of_file)

    def begin(self) -> None:
        self._body.start(self._packed_id)

    def _end_of_file(self) -> None:
        self._driver.send(self._driver.frame(bytes((0x92, messages.REQUEST_CLOSE)) + self._packed_id))

    def message(self, kind: int, piece: bytes, at: int, length: int) -> None:
        if kind == messages.RESULT and messages.unpack_result(messages.decode(piece)[2].packed) == self._size:
            self._finish()
        else:
            self._fail(kind, piece)


class FileGet(Call):
    """``file_download``, in the chunks that it has by default."""

    def __init__(self, driver: LinkDriver, job: str, size: int) -> None:
        super().__init__(driver, messages.ISTREAM, "file_download", [job, FILE])
        self._size = size

    def message(self, kind: int, piece: bytes, at: int, length: int) -> None:
        if kind == messages.RESPONSE_MESSAGE:
            self._received += max(0, bin_length(piece, at, length))
        elif kind == messages.RESULT and self._received == self._size:
            self._finish()
        else:
            self._fail(kind, piece)


class ArchivePut(Call):
    """``archive_upload`` of a tar."""

    def __init__(self, driver: LinkDriver, job: str, tar: bytes) -> None:
        super().__init__(driver, messages.OSTREAM, "archive_upload", [job])
        self._tar = tar
        self._at = 0

    def begin(self) -> None:
        self._at = 0
        self._driver.on_resume.append(self._run)
        self._run()

    def _run(self) -> None:
        head = bytes((0x93, messages.REQUEST_MESSAGE)) + self._packed_id + b"\xc6"
        while self._at < len(self._tar):
            piece = self._tar[self._at : self._at + len(wire.BLOCK)]
            self._at += len(piece)
            if not self._driver.write_now(self._driver.frame(head + len(piece).to_bytes(4, "big") + piece)):
                return
        self._driver.on_resume.remove(self._run)
        self._driver.send(self._driver.frame(bytes((0x92, messages.REQUEST_CLOSE)) + self._packed_id))

    def message(self, kind: int, piece: bytes, at: int, length: int) -> None:
        if kind == messages.RESULT and messages.unpack_result(messages.decode(piece)[2].packed) == len(self._tar):
            self._finish()
        else:
            self._fail(kind, piece)


class ArchiveGet(Call):
    """``archive_download`` of the files of that tar, in chunks of at most 1 MiB."""

    def __init__(self, driver: LinkDriver, job: str, mask: str, least: int) -> None:
        super().__init__(driver, messages.ISTREAM, "archive_download", [job, mask, None, False, 1 << 20])
        self._least = least

    def message(self, kind: int, piece: bytes, at: int, length: int) -> None:
        if kind == messages.RESPONSE_MESSAGE:
            self._received += max(0, bin_length(piece, at, length))
        elif kind == messages.RESULT and self._received >= self._least:
            self._finish()
        else:
            self._fail(kind, piece)
