"""HTTP requests to a job: the request body and the response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from pagent.buffers import BODY_CHUNK, Bytes
from pagent.client.payloads import all_payloads
from pagent.client.sockets import TcpStream
from pagent.errors import CallError, LinkError, MethodError
from pagent.http1.wire_text import fields_from_wire
from pagent.rpc.aio import StreamCall
from pagent.runtime.silence import SilenceLimit

Body = Bytes | AsyncIterable[Bytes]

#: Time that a body waits for the job's 100 (``Expect: 100-continue``). Some servers send none (RFC 9110 10.1.1).
_CONTINUE_WAIT_S: Final = 1.0
_SWITCHING_PROTOCOLS: Final = 101


class Response(NamedTuple):
    """A complete HTTP response. ``headers`` are pairs, in order and with repeated names.

    Bytes of a header value that are not UTF-8 are lone surrogates (the error handler ``surrogateescape``).
    """

    status: int
    headers: list[list[str]]
    body: bytes


class StreamedResponse:
    """A response whose head has arrived. Iterate over its body once. The iteration raises if the body is incomplete.

    For a raw request, ``interim`` has the interim responses (status and headers), ``trailers`` has the trailers after
    the body, and ``tunnel`` is the connection if the job has switched protocols (status 101).
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
        self._stream_call = call
        self._length = None if bodiless else _content_length(status, headers)
        self._received = 0

    @classmethod
    async def of(cls, call: StreamCall, method: str, sender: BodySender) -> StreamedResponse:
        """Wait for the head of the response."""
        interim = []
        while True:
            status = await call.receive()
            headers = None if status is None else await call.receive()
            if headers is None:
                await call.result()  # raises: an error before the head arrives as the result
                raise _broken("the call ended without a response")
            headers = fields_from_wire(headers)
            if status >= 200 or status == _SWITCHING_PROTOCOLS:
                break
            interim.append((status, headers))
            sender.proceed()
        sender.answered()
        return cls(call, status, headers, bodiless=method.upper() == "HEAD", interim=interim)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        value = await self._stream_call.receive()
        while isinstance(value, list):
            self.trailers = fields_from_wire(value)
            value = await self._stream_call.receive()
        if isinstance(value, (bytes, bytearray, memoryview)):
            self._received += len(value)
            return bytes(value)
        await self._stream_call.result()  # raises if the response was cut off, which the message false announces
        if value is not None or (self._length is not None and self._received < self._length):
            raise _broken(f"the response was cut off after {self._received} bytes")
        raise StopAsyncIteration

    async def read(self) -> bytes:
        """Return the rest of the body. MethodError: it is incomplete."""
        return b"".join([chunk async for chunk in self])


def _content_length(status: int, headers: list[list[str]]) -> int | None:
    """Return the length of the body, if it is announced: older agents end a response that was cut off normally."""
    names = {name.lower(): value for name, value in headers}
    length = names.get("content-length", "")
    if status in (204, 304) or "transfer-encoding" in names or not (length.isascii() and length.isdigit()):
        return None
    return int(length)


def _broken(text: str) -> MethodError:
    return MethodError(text, "BrokenResponseError", text)


def framed(headers: Sequence[Sequence[str]], body: Body) -> list[list[str]]:
    """Return the headers with the field that announces the body, unless they have one.

    The head of a raw request has to announce its body. A body of unknown length is announced at once, because the job
    may respond before its first byte. A body of known length has a Content-Length, because some servers accept no
    other.
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
    """Sends the body of a request. ``error`` is the exception of the caller's iterable, which cancels the call.

    :param waits: whether the body waits for the job's 100 (``Expect: 100-continue``).
    """

    def __init__(self, call: StreamCall, body: Body, *, waits: bool = False) -> None:
        self._stream_call = call
        self._body = body
        self._proceed = asyncio.Event() if waits else None
        self._unwanted = False
        self.error: Exception | None = None

    @property
    def is_short(self) -> bool:
        """Return whether the body can be sent without waiting."""
        short = isinstance(self._body, (bytes, bytearray, memoryview)) and len(self._body) < BODY_CHUNK
        return short and self._proceed is None

    def proceed(self) -> None:
        """Send the body: the job has asked for it."""
        if self._proceed is not None:
            self._proceed.set()

    def answered(self) -> None:
        """Drop a body that still waits: the final response has arrived."""
        if self._proceed is not None and not self._proceed.is_set():
            self._unwanted = True
            self._proceed.set()

    async def send(self) -> None:
        """Send the body and its end."""
        if self._proceed is not None:
            with suppress(TimeoutError):
                async with SilenceLimit(_CONTINUE_WAIT_S):
                    await self._proceed.wait()
            if self._unwanted:
                return
            self._proceed.set()
        try:
            async for piece in all_payloads(self._body):
                if not await self._send(piece):
                    return
        except Exception as error:  # noqa: BLE001 - the exception of the caller's iterable is raised again for the caller
            self.error = error
            self._stream_call.cancel()
            return
        await self._send(b"")

    async def _send(self, piece: Bytes) -> bool:
        """Send one piece. Return False if the call has failed, or was answered before the end of the body."""
        try:
            await self._stream_call.send(piece)
        except (CallError, LinkError):
            return False  # reading the response raises the error
        return not self._stream_call.is_over
