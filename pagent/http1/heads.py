"""The heads of requests and responses, as immutable values."""

from __future__ import annotations

from typing import Final

from pagent.http1.fields import Framing
from pagent.http1.lines import pairs_of

#: Methods whose requests mean something by a body, so that its absence is stated (RFC 9110 8.6).
EXPECT_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class RequestHead:
    """The head of a request towards a job.

    ``data``: the head with its blank line. It can be written unchanged unless ``framing`` is UNDECIDED.
    ``length``: bytes of the body if ``framing`` is LENGTH, otherwise None.
    ``is_head``: the method is HEAD, so the response has no body.
    ``host``: the value of Host.
    ``protocols``: the protocols that the request offers to switch to, in lower case.
    ``takes_compressed``: the client accepts a coding that an old router applies by itself.
    ``in_lines``: the caller has sent its fields as lines, and gets those of the answer as lines.
    """

    __slots__ = (
        "data",
        "framing",
        "host",
        "idempotent",
        "in_lines",
        "is_head",
        "length",
        "method",
        "protocols",
        "takes_compressed",
    )

    def __init__(
        self,
        data: bytes,
        framing: Framing,
        length: int | None,
        idempotent: bool,
        method: str,
        host: str,
        protocols: frozenset[str] = frozenset(),
    ) -> None:
        self.data = data
        self.framing = framing
        self.length = length
        self.idempotent = idempotent
        self.method = method
        self.host = host
        self.protocols = protocols
        self.takes_compressed = False
        self.is_head = method == "HEAD"
        self.in_lines = False

    def chunked_data(self) -> bytes:
        """Return the head of an UNDECIDED request that turns out to have a body."""
        return self.data[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"

    def bodiless_data(self) -> bytes:
        """Return the head of an UNDECIDED request that turns out to have no body."""
        return self.data[:-2] + b"Content-Length: 0\r\n\r\n" if self.method in EXPECT_BODY else self.data


class ResponseHead:
    """The head of a job's response.

    ``lines``: the fields as the job wrote them, without the hop-by-hop ones (Transfer-Encoding is one).
    ``length``: bytes of the body if ``framing`` is LENGTH, otherwise None.
    ``keep_alive``: whether the connection may carry another request (RFC 9112 9.3) if the body is complete.
    ``content_encoding``: the codings of the body, for :func:`pagent.http1.coding.decoder_for`.
    ``local``: whether there are fields that depend on the request or the caller: references to an address, Trailer, and
    values that are not ASCII.
    """

    __slots__ = ("content_encoding", "framing", "keep_alive", "length", "lines", "local", "status")

    def __init__(
        self,
        status: int,
        lines: bytes,
        framing: Framing,
        length: int | None,
        keep_alive: bool,
        content_encoding: str | None,
        local: bool,
    ) -> None:
        self.status = status
        self.lines = lines
        self.framing = framing
        self.length = length
        self.keep_alive = keep_alive
        self.content_encoding = content_encoding
        self.local = local

    @property
    def headers(self) -> list[list[str]]:
        """The fields, [name, value] each."""
        return pairs_of(self.lines)
