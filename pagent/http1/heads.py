"""What the head of a response says."""

from __future__ import annotations

from pagent.http1.fields import Framing


class ResponseHead:
    """The head of a final response.

    ``headers``: [name, value] each, as the job wrote them, less the hop-by-hop ones (Transfer-Encoding among them).
    ``length``: bytes of the body if ``framing`` is LENGTH, else None.
    ``keep_alive``: whether the connection may carry another request (RFC 9112 9.3), if the body ends as it should.
    ``content_encoding``: the codings of the body, for :func:`pagent.http1.coding.decoder_for`.
    ``local``: whether fields are there that depend on who asked: references to an address, and Trailer.
    ``packed``, ``packed_usual``: for whoever hands the head on, to keep the forms in which it does.
    """

    __slots__ = (
        "content_encoding",
        "framing",
        "headers",
        "keep_alive",
        "length",
        "local",
        "packed",
        "packed_usual",
        "status",
    )

    def __init__(
        self,
        status: int,
        headers: list[list[str]],
        framing: Framing,
        length: int | None,
        keep_alive: bool,
        content_encoding: str | None,
        local: bool,
    ) -> None:
        self.status = status
        self.headers = headers
        self.framing = framing
        self.length = length
        self.keep_alive = keep_alive
        self.content_encoding = content_encoding
        self.local = local
        self.packed: tuple[bytes, bytes] | None = None
        self.packed_usual: tuple[bytes, bytes] | None = None


class LastHead:
    """The head of the last response to a request: the next one to the same request often begins with the same bytes."""

    __slots__ = ("block", "head")

    def __init__(self) -> None:
        self.block = b""  # with its blank line
        self.head: ResponseHead | None = None
