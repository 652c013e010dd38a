"""HTTP to a job: the body on its way there, the response on its way back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from pagent.buffers import BODY_CHUNK, Bytes
from pagent.client.pieces import all_pieces
from pagent.client.sockets import TcpStream
from pagent.errors import CallError, LinkError, MethodError
from pagent.rpc.aio import StreamCall

Body = Bytes | AsyncIterable[Bytes]

#: How long a body waits for the job's 100 (``Expect: 100-continue``): some servers never send one (RFC 9110 10.1.1).
_CONTINUE_WAIT_S: Final = 1.0
_SWITCHING_PROTOCOLS: Final = 101


class Response(NamedTuple):
    """A whole HTTP response; ``headers`` are pairs, repeated names and their order kept."""

    status: int
    headers: list[list[str]]
    body: bytes


class StreamedResponse:
    """A response whose head has come. Iterate over its body, once; the iteration raises if the body is not whole.

    Of a raw request, ``interim`` are the responses before this one, status and headers each; ``trailers`` are those
    that came after the body; ``tunnel`` is the connection once the job has switched to another protocol (status 101).
    """

    def __init__(
        self,
        call: StreamCall,
        status: int,
        headers: list[list[str]],
        *,
        bodiless: bool,
        interim: Sequence[tuple[int, list[list[str]]]] = (),
    ) -> None:
        self.status = status
        self.headers = headers
        self.interim = list(interim)
        self.trailers: list[list[str]] = []
        self.tunnel = TcpStream(call) if status == _SWITCHING_PROTOCOLS else None
        self._call_ = call
        self._length = None if bodiless else _content_length(status, headers)
        self._received = 0

    @classmethod
    async def of(cls, call: StreamCall, method: str, sender: BodySender) -> StreamedResponse:
        """Wait for the head."""
        interim = []
        while True:
            status = await call.receive()
            headers = None if status is None else await call.receive()
            if headers is None:
                await call.result()  # raises: an error before the head comes as the result alone
                raise _broken("the call ended without a response")
            if status >= 200 or status == _SWITCHING_PROTOCOLS:
                break
            interim.append((status, headers))
            sender.proceed()
        sender.answered()
        return cls(call, status, headers, bodiless=method.upper() == "HEAD", interim=interim)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        value = await self._call_.receive()
        while isinstance(value, list):
            self.trailers = value
            value = await self._call_.receive()
        if isinstance(value, (bytes, bytearray, memoryview)):
            self._received += len(value)
            return bytes(value)
        await self._call_.result()  # raises if the job broke off, which the message false announces
        if value is not None or (self._length is not None and self._received < self._length):
            raise _broken(f"the response broke off after {self._received} bytes")
        raise StopAsyncIteration

    async def read(self) -> bytes:
        """The rest of the body. MethodError: it is not whole."""
        return b"".join([chunk async for chunk in self])


def _content_length(status: int, headers: list[list[str]]) -> int | None:
    """What the body has to come to, where it says so: agents of the field end a broken response like a whole one."""
    names = {name.lower(): value for name, value in headers}
    length = names.get("content-length", "")
    if status in (204, 304) or "transfer-encoding" in names or not (length.isascii() and length.isdigit()):
        return None
    return int(length)


def _broken(text: str) -> MethodError:
    return MethodError(text, "BrokenResponseError", text)


def framed(headers: Sequence[Sequence[str]], body: Body) -> list[list[str]]:
    """The headers with what says that a body comes, unless they say it already.

    Of a raw request only the head says whether there is one. One of unknown length is announced at once: the job may
    answer before its first byte is there. One of known length says it, since some servers read no other.
    """
    fields = [list(pair) for pair in headers]
    if any(name.lower() in ("content-length", "transfer-encoding") for name, _ in fields):
        return fields
    if isinstance(body, AsyncIterable):
        fields.append(["Transfer-Encoding", "chunked"])
    elif len(body):
        fields.append(["Content-Length", str(memoryview(body).nbytes)])
    return fields


class BodySender:
    """Sends a request's body; ``error`` is what its iterable raised, by which the call was given up.

    :param waits: whether the job is asked first whether it wants the body (``Expect: 100-continue``).
    """

    def __init__(self, call: StreamCall, body: Body, *, waits: bool = False) -> None:
        self._call_ = call
        self._body = body
        self._proceed = asyncio.Event() if waits else None
        self._unwanted = False
        self.error: Exception | None = None

    @property
    def is_short(self) -> bool:
        """Whether it is sent without waiting for anything."""
        short = isinstance(self._body, (bytes, bytearray, memoryview)) and len(self._body) < BODY_CHUNK
        return short and self._proceed is None

    def proceed(self) -> None:
        """The job has asked for the body."""
        if self._proceed is not None:
            self._proceed.set()

    def answered(self) -> None:
        """The final response has come: a body that still waits is not wanted."""
        if self._proceed is not None and not self._proceed.is_set():
            self._unwanted = True
            self._proceed.set()

    async def send(self) -> None:
        """All of it and its end."""
        if self._proceed is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CONTINUE_WAIT_S):
                    await self._proceed.wait()
            if self._unwanted:
                return
            self._proceed.set()
        try:
            async for piece in all_pieces(self._body):
                if not await self._send(piece):
                    return
        except Exception as error:  # noqa: BLE001 - whatever the caller's iterable raises is the caller's
            self.error = error
            self._call_.cancel()
            return
        await self._send(b"")

    async def _send(self, piece: Bytes) -> bool:
        """Whether more is wanted: not once the call has failed or was answered before the body was all read."""
        try:
            await self._call_.send(piece)
        except (CallError, LinkError):
            return False  # whoever reads the response learns of it
        return not self._call_.is_over
