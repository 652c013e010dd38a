"""Through the agent: lanes that are calls on one link, as a router of the field makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from bench import wire
from bench.link import LinkDriver, bin_length, pack_id
from bench.pump import Pump
from bench.way import Fault, Lane, idle, until
from pagent.errors import MethodError
from pagent.wire import messages

_READY_TIMEOUT_S: Final = 10.0
#: What follows the call id in a result of nil, and in the status 200.
_NIL_RESULT: Final = b"\xc4\x01\xc0\x00\xc0"
_STATUS_200: Final = b"\xcc\xc8"
_TRUE: Final = b"\xc3"
_FILE: Final = "bench.bin"


class _Call:
    """A lane that makes a call for each exchange. Subclasses count what comes and say when it is complete."""

    def __init__(self, driver: LinkDriver, call_type: int, method: str, args: list[Any]) -> None:
        self.done: Callable[[], None] = idle
        self._driver = driver
        self._start = messages.pack([call_type, method, args, {}])[
            1:
        ]  # less the array's head: two elements are missing
        self._call_id = 0
        self._packed_id = b""
        self._received = 0

    def send(self) -> None:
        driver = self._driver
        self._received = 0
        self._call_id = driver.next_id(self.message)
        self._packed_id = pack_id(self._call_id)
        driver.send(driver.frame(b"\x96\x02" + self._packed_id + self._start))
        self.begin()

    def begin(self) -> None:
        """What follows the start of the call at once."""

    def message(self, kind: int, piece: bytes, at: int, length: int) -> None:
        raise NotImplementedError

    def _send(self, kind: int, rest: bytes) -> None:
        self._driver.send(self._driver.frame(bytes((0x93, kind)) + self._packed_id + rest))

    def _finish(self) -> None:
        del self._driver.calls[self._call_id]
        self.done()

    def _fail(self, kind: int, piece: bytes) -> None:
        self._driver.fail(f"unexpected message of kind {kind}: {piece[:300]!r}")


class _Request(_Call):
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


class _Body:
    """A body in messages of 64 KiB, as fast as the link takes them or at a rate; then ``end``."""

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


class _Put(_Request):
    """``http_request`` with a body."""

    def __init__(self, driver: LinkDriver, job: str, size: int, rate: float | None) -> None:
        super().__init__(driver, job, "POST", "/bytes/0", 12, ("Content-Length", str(size)))
        self._body = _Body(driver, size, rate, super().begin)

    def begin(self) -> None:
        self._body.start(self._packed_id)


class _FilePut(_Call):
    """``file_upload``."""

    def __init__(self, driver: LinkDriver, job: str, size: int) -> None:
        super().__init__(driver, messages.OSTREAM, "file_upload", [job, _FILE])
        self._size = size
        self._body = _Body(driver, size, None, self._end_of_file)

    def begin(self) -> None:
        self._body.start(self._packed_id)

    def _end_of_file(self) -> None:
        self._driver.send(self._driver.frame(bytes((0x92, messages.REQUEST_CLOSE)) + self._packed_id))

    def message(self, kind: int, piece: bytes, at: int, length: int) -> None:
        if kind == messages.RESULT and messages.decode(piece)[2].value == self._size:
            self._finish()
        else:
            self._fail(kind, piece)


class _FileGet(_Call):
    """``file_download``, in the chunks that it has by default."""

    def __init__(self, driver: LinkDriver, job: str, size: int) -> None:
        super().__init__(driver, messages.ISTREAM, "file_download", [job, _FILE])
        self._size = size

    def message(self, kind: int, piece: bytes, at: int, length: int) -> None:
        if kind == messages.RESPONSE_MESSAGE:
            self._received += max(0, bin_length(piece, at, length))
        elif kind == messages.RESULT and self._received == self._size:
            self._finish()
        else:
            self._fail(kind, piece)


class _Socket(_Call):
    """What opens with ``true`` and then carries messages: ``ws_connect``, ``tcp_connect``."""

    def __init__(self, driver: LinkDriver, method: str, args: list[Any]) -> None:
        super().__init__(driver, messages.BISTREAM, method, args)
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        super().send()
        await until(self._opened, self._driver.fault, _READY_TIMEOUT_S)

    def message(self, kind: int, piece: bytes, at: int, length: int) -> None:
        if kind != messages.RESPONSE_MESSAGE:
            self._fail(kind, piece)
        elif not self._opened.done():
            if piece[at:] == _TRUE:
                self._opened.set_result(None)
            else:
                self._opened.set_exception(Fault("agent: the job could not be reached"))
        else:
            self._data(bin_length(piece, at, length))

    def _data(self, size: int) -> None:
        self._received -= size
        if self._received == 0:
            self.done()
        elif self._received < 0:
            self._driver.fail("more came than was asked for")


class _Echo(_Socket):
    def __init__(self, driver: LinkDriver, job: str, size: int) -> None:
        super().__init__(driver, "ws_connect", [job, "/ws", [], list(wire.FIELDS)])
        self._size = size
        self._message = b""

    def send(self) -> None:
        if not self._message:
            head = messages.stream_header(messages.REQUEST_MESSAGE, self._call_id, self._size)
            self._message = self._driver.frame(head + bytes(self._size))
        self._received = self._size
        self._driver.send(self._message)


class _TunnelGet(_Socket):
    """A request through a tunnel; the answer's head has a known length."""

    def __init__(self, driver: LinkDriver, job: str, size: int) -> None:
        super().__init__(driver, "tcp_connect", [job])
        self._size = size

    def send(self) -> None:
        self._received = wire.HEAD_BYTES + self._size
        request = wire.request("GET", f"/bytes/{self._size}")
        self._send(messages.REQUEST_MESSAGE, b"\xc5" + len(request).to_bytes(2, "big") + request)


class _TunnelPut(_Socket):
    def __init__(self, driver: LinkDriver, job: str, size: int) -> None:
        super().__init__(driver, "tcp_connect", [job])
        self._request = wire.request("POST", "/bytes/0", ("Content-Length", str(size)))
        self._body = _Body(driver, size, None, idle)

    def send(self) -> None:
        self._received = wire.HEAD_BYTES + 12
        self._send(messages.REQUEST_MESSAGE, b"\xc5" + len(self._request).to_bytes(2, "big") + self._request)
        self._body.start(self._packed_id)


class _JobCycle:
    """job_create, job_start, job_wait, job_remove of a program that does nothing."""

    def __init__(self, driver: LinkDriver) -> None:
        self.done: Callable[[], None] = idle
        self._driver = driver
        self._task: asyncio.Task[None] | None = None

    def send(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        call = self._driver.call
        try:
            job = (await call("job_create", "cycle"))["uid"]
            await call("job_start", job, ["true"], None, None, 0)
            await call("job_wait", job)
            await call("job_remove", job)
        except (Fault, MethodError) as error:
            self._driver.fail(str(error))
            return
        self.done()


class AgentWay:
    """Through a link; ``pid`` is the agent's, ``job`` the uid of the job."""

    def __init__(self, driver: LinkDriver, pid: int, job: str) -> None:
        self.name = "agent"
        self.pid = pid
        self.fault = driver.fault
        self._driver = driver
        self._job = job

    def close(self) -> None:
        self._driver.close()

    async def get(self, size: int) -> Lane:
        return _Request(self._driver, self._job, "GET", f"/bytes/{size}", size)

    async def put(self, size: int, rate: float | None = None) -> Lane:
        return _Put(self._driver, self._job, size, rate)

    async def echo(self, size: int) -> Lane:
        lane = _Echo(self._driver, self._job, size)
        await lane.open()
        return lane

    async def events(self, seen: Callable[[int], None]) -> None:
        def arrived(kind: int, piece: bytes, at: int, length: int) -> None:
            if kind != messages.RESPONSE_MESSAGE:
                self._driver.fail(f"the events ended: {piece[:300]!r}")
            for time in wire.event_times(piece):
                seen(time)

        lane = _Request(self._driver, self._job, "GET", "/events", 0)
        lane.message = arrived  # type: ignore[method-assign]
        lane.send()

    async def tunnel_get(self, size: int) -> Lane:
        lane = _TunnelGet(self._driver, self._job, size)
        await lane.open()
        return lane

    async def tunnel_put(self, size: int) -> Lane:
        lane = _TunnelPut(self._driver, self._job, size)
        await lane.open()
        return lane

    async def file_put(self, size: int) -> Lane:
        return _FilePut(self._driver, self._job, size)

    async def file_get(self, size: int) -> Lane:
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        upload = _FilePut(self._driver, self._job, size)
        upload.done = lambda: finished.set_result(None)
        upload.send()
        await until(finished, self.fault, 120)
        return _FileGet(self._driver, self._job, size)

    async def job_cycle(self) -> Lane:
        return _JobCycle(self._driver)
