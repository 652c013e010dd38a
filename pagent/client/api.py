"""One request to the HTTP API of a router, on a connection of its own: the router closes it after the answer."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from pagent.errors import ApiError, ConfigError, DialError, DialTimeoutError, LinkClosedError
from pagent.http1.fields import BadResponse
from pagent.http1.heads import ResponseHead
from pagent.http1.response import ResponseParser
from pagent.limits import HANDSHAKE_TIMEOUT_S
from pagent.net.authority import ascii_host, authority_of
from pagent.net.dial import VISIBLE_ASCII
from pagent.runtime.silence import SilenceLimit

_READ: Final = 64 * 1024
_PORTS: Final = {"http": 80, "https": 443}
_ERROR: Final = 400


class ApiAddress(NamedTuple):
    """Where the API is. ``prefix``: the path before ``/v1``, of a proxy in front."""

    host: str
    port: int
    tls: bool
    prefix: str

    @property
    def authority(self) -> str:
        return authority_of(self.host, self.port)


def parse_url(url: str) -> ApiAddress:
    """Parse ``http://host[:port][/prefix]`` or ``https://``. ConfigError."""
    try:
        parts = urlsplit(url)
        port = _PORTS[parts.scheme] if parts.port is None else parts.port
        host = ascii_host(parts)
    except (ValueError, KeyError):
        raise ConfigError("not a valid URL of a router: it has to be http://host:port or https://host:port") from None
    if not host or "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError("the URL of a router has a host, and neither a user nor a query nor a fragment")
    if port == 0 or not VISIBLE_ASCII.fullmatch(parts.path):
        raise ConfigError("the URL of a router has a port from 1 to 65535, and a path of visible ASCII characters")
    return ApiAddress(host, port, parts.scheme == "https", parts.path.rstrip("/"))


class ApiAnswer:
    """An answer whose head has come. Iterate over the body once; LinkClosedError if it is cut off."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._parser = ResponseParser(self, head_request=False)
        self._parts: list[bytes] = []
        self._is_complete = False
        self.status = 0
        self.fields: dict[str, str] = {}

    # --- sink of the parser -----------------------------------------------------------------------

    def head(self, head: ResponseHead) -> None:
        self.status = head.status
        self.fields = {name.lower(): value for name, value in head.headers}

    def body(self, data: bytes | memoryview) -> None:
        self._parts.append(bytes(data))

    def trailers(self, fields: list[list[str]]) -> None:
        """Ignore them: the API sends none."""

    def complete(self, reusable: bool) -> None:
        self._is_complete = True

    # --- for the caller ---------------------------------------------------------------------------

    async def read_head(self) -> None:
        """Read until the head has come."""
        while not self.status:
            await self._read()

    async def pieces(self, idle_s: float | None = None) -> AsyncIterator[bytes]:
        """Yield the body in pieces. LinkClosedError if no byte is received for ``idle_s`` seconds."""
        while True:
            parts, self._parts = self._parts, []
            for part in parts:
                yield part
            if self._is_complete:
                return
            try:
                async with SilenceLimit(idle_s):
                    await self._read()
            except TimeoutError:
                raise LinkClosedError(reason=f"the router has sent nothing for {idle_s:g} s") from None

    async def value(self) -> Any:
        """Return the JSON value of the whole answer; None without a body. ApiError if it is a problem."""
        body = b"".join([piece async for piece in self.pieces()])
        try:
            value = json.loads(body) if body else None
        except ValueError:
            value = body.decode(errors="replace")
        if self.status >= _ERROR:
            raise self._problem(value)
        return value

    async def _read(self) -> None:
        try:
            data = await self._reader.read(_READ)
            if data:
                self._parser.feed(data)
            else:
                self._parser.eof()
            while self._parser.more:
                self._parser.feed(b"")
        except (OSError, BadResponse) as error:
            raise LinkClosedError(reason=f"the answer of the router broke off: {error}") from None

    def _problem(self, value: Any) -> ApiError:
        members: Mapping[str, Any] = value if isinstance(value, dict) else {"detail": value}
        wait = self.fields.get("retry-after", "")
        return ApiError(
            self.status,
            str(members.get("detail") or members.get("title") or ""),
            str(members.get("request_id") or self.fields.get("x-request-id") or ""),
            retry_after_s=float(wait) if wait.isascii() and wait.isdigit() else None,
        )


@asynccontextmanager
async def api_request(
    address: ApiAddress,
    method: str,
    target: str,
    fields: Mapping[str, str],
    body: bytes = b"",
    *,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[ApiAnswer]:
    """Send a request; yield its answer when the head has come. DialError, LinkClosedError."""
    context = (tls or ssl.create_default_context()) if address.tls else None
    try:
        async with SilenceLimit(HANDSHAKE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    except TimeoutError:
        raise DialTimeoutError(f"{address.authority}: no answer within {HANDSHAKE_TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise DialError(f"{address.authority}: {error.strerror or error}") from None
    try:
        lines = {"Host": address.authority, **fields, "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{method} {address.prefix}{target} HTTP/1.1\r\n{head}\r\n".encode() + body)
        answer = ApiAnswer(reader)
        await answer.read_head()
        yield answer
    finally:
        writer.close()
