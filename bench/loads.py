"""What one link can ask of an agent that might hold its event loop: the loads of the rows ``stall-...``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

from bench.link import LinkDriver
from bench.process import python
from bench.way import Fault, until
from pagent.errors import MethodError
from pagent.wire import messages

_LOAD_TIMEOUT_S: Final = 120.0

#: Forks, and listens once all are forked: ``ready='connect'`` waits for that.
_FORKS: Final = """
import os, signal, socket, sys
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        signal.pause()
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
signal.pause()
"""


class Load(Protocol):
    """``prepare`` is called before each ``run``, and is not part of what is measured."""

    async def prepare(self, driver: LinkDriver) -> None: ...

    async def run(self, driver: LinkDriver) -> None: ...


class Listings:
    """``calls`` listings of ``jobs`` jobs, all asked for at once."""

    def __init__(self, jobs: int, calls: int) -> None:
        self._jobs = jobs
        self._calls = calls
        self._made = False

    async def prepare(self, driver: LinkDriver) -> None:
        if not self._made:
            self._made = True
            for _ in range(self._jobs):
                await driver.call("job_create", "listed")

    async def run(self, driver: LinkDriver) -> None:
        await _all(driver, [driver.send_call("job_list") for _ in range(self._calls)])


class Starts:
    """``count`` starts of a program, all asked for at once, with an environment."""

    def __init__(self, count: int, environment: Mapping[str, str]) -> None:
        self._count = count
        self._environment = dict(environment)
        self._jobs: list[str] = []

    async def prepare(self, driver: LinkDriver) -> None:
        for job in self._jobs:
            await driver.call("job_remove", job)
        self._jobs = [(await driver.call("job_create", "started"))["uid"] for _ in range(self._count)]

    async def run(self, driver: LinkDriver) -> None:
        arguments = (["sleep", "1000"], self._environment, None, 0)
        calls = []
        for job in self._jobs:
            calls.append(driver.send_call("job_start", job, *arguments))
            await asyncio.sleep(0)  # the generator must not hold its own loop
        await _all(driver, calls)


class Removal:
    """The removal of a job with ``processes`` processes."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._job = ""

    async def prepare(self, driver: LinkDriver) -> None:
        self._job = (await driver.call("job_create", "removed"))["uid"]
        command = [*python(), "-c", _FORKS, str(self._processes), "{port}"]
        await driver.call("job_start", self._job, command, None, port="auto", ready="connect")

    async def run(self, driver: LinkDriver) -> None:
        await driver.call("job_remove", self._job)


class Input:
    """``size`` bytes for the standard input of a process, in one message."""

    def __init__(self, size: int) -> None:
        self._data = messages.bin_header(size) + bytes(size)
        self._job = ""
        self._head = self._frame = b""
        self._ended: asyncio.Future[None] | None = None

    async def prepare(self, driver: LinkDriver) -> None:
        if not self._job:
            self._job = (await driver.call("job_create", "reads"))["uid"]
            await driver.call("job_start", self._job, ["sleep", "1000"], None, None, 0)
        # Masking all of these bytes would hold the generator's own loop.
        self._ended, call_id = _stream(driver, messages.BISTREAM, "job_exec", self._job, ["wc", "-c"])
        self._head = bytes((0x93, messages.REQUEST_MESSAGE)) + _packed(call_id)
        self._frame = driver.frame(self._head + self._data)

    async def run(self, driver: LinkDriver) -> None:
        driver.write_now(self._frame)
        driver.send(driver.frame(self._head + messages.bin_header(0)))
        assert self._ended is not None
        await _all(driver, [self._ended])


class NestedArrays:
    """A message of ``size`` bytes of empty arrays in arrays, for a call that is not there."""

    def __init__(self, size: int) -> None:
        block = b"\xdd" + (4096).to_bytes(4, "big") + (b"\x9f" + b"\x90" * 15) * 4096
        blocks = max(1, size // len(block))
        self._value = b"\xdd" + blocks.to_bytes(4, "big") + block * blocks

    async def prepare(self, driver: LinkDriver) -> None: ...

    async def run(self, driver: LinkDriver) -> None:
        driver.write_now(driver.frame(b"\x93\x04\x05" + self._value))
        await driver.call("job_count_current_connection")


class SmallChunks:
    """``file_download`` of ``size`` bytes, one byte in each message."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._job = ""

    async def prepare(self, driver: LinkDriver) -> None:
        if not self._job:
            self._job = (await driver.call("job_create", "downloaded"))["uid"]
            ended, call_id = _stream(driver, messages.OSTREAM, "file_upload", self._job, "file")
            head = bytes((0x93, messages.REQUEST_MESSAGE)) + _packed(call_id)
            driver.send(driver.frame(head + messages.bin_header(self._size) + bytes(self._size)))
            driver.send(driver.frame(bytes((0x92, messages.REQUEST_CLOSE)) + _packed(call_id)))
            await _all(driver, [ended])

    async def run(self, driver: LinkDriver) -> None:
        await _all(driver, [_stream(driver, messages.ISTREAM, "file_download", self._job, "file", 1)[0]])


# --- calls --------------------------------------------------------------------------------------------


def _stream(driver: LinkDriver, kind: int, method: str, *args: Any) -> tuple[asyncio.Future[None], int]:
    """Start a call with a stream, whose messages are dropped. Return the future of its end, and its id."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def arrived(kind: int, piece: bytes, at: int, length: int) -> None:
        if kind == messages.RESULT:
            del driver.calls[call_id]
            outcome: messages.Outcome = messages.decode(piece)[2]
            if outcome.error is None:
                ended.set_result(None)
            else:
                ended.set_exception(MethodError(f"{method}: {outcome.error}", outcome.error[1], outcome.error[2]))

    call_id = driver.next_id(arrived)
    driver.send(driver.frame(messages.call_start(call_id, kind, method, args, {})))
    return ended, call_id


def _packed(call_id: int) -> bytes:
    return messages.pack(call_id)


async def _all(driver: LinkDriver, futures: list[asyncio.Future[None]]) -> None:
    try:
        await until(asyncio.ensure_future(_gathered(futures)), driver.fault, _LOAD_TIMEOUT_S)
    except MethodError as error:
        raise Fault(str(error)) from None


async def _gathered(futures: list[asyncio.Future[None]]) -> None:
    await asyncio.gather(*futures)
