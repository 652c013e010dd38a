"""HTTP to a job: the body on its way there, the response on its way back."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import NamedTuple

from pagent.buffers import Bytes
from pagent.client.pieces import all_pieces
from pagent.errors import CallError, LinkError, MethodError
from pagent.limits import BODY_CHUNK
from pagent.rpc.aio import StreamCall

Body = Bytes | AsyncIterable[Bytes]


class Response(NamedTuple):
    """A whole HTTP response; ``headers`` are pairs, repeated names and their order kept."""

    status: int
    headers: list[list[str]]
    body: bytes


class StreamedResponse:
    """A response whose head has come. Iterate over its body, once; the iteration raises if the body is not whole.

    ``trailers`` are those that came behind the body, of a raw request.
    """

    def __init__(self, call: StreamCall, status: int, headers: list[list[str]], *, bodiless: bool) -> None:
        self.status = status
        self.headers = headers
        self.trailers: list[list[str]] = []
        self._call_ = call
        self._length = None if bodiless else _content_length(status, headers)
        self._received = 0

    @classmethod
    async def of(cls, call: StreamCall, method: str) -> StreamedResponse:
        """Wait for the head."""
        status = await call.receive()
        headers = None if status is None else await call.receive()
        if headers is None:
            await call.result()  # raises: an error before the head comes as the result alone
            raise _broken("the call ended without a response")
        return cls(call, status, headers, bodiless=method.upper() == "HEAD")

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


class BodySender:
    """Sends a request's body; ``error`` is what its iterable raised, by which the call was given up."""

    def __init__(self, call: StreamCall, body: Body) -> None:
        self._call_ = call
        self._body = body
        self.error: Exception | None = None

    @property
    def is_short(self) -> bool:
        """Is it sent without waiting for anybody to read it?"""
        return isinstance(self._body, (bytes, bytearray, memoryview)) and len(self._body) < BODY_CHUNK

    async def send(self) -> None:
        """All of it and its end."""
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
