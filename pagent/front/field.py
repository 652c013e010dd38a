"""An exchange with an agent of the field: the methods of part 1 of the contract (docs/contract.rst, "Proxy").

Such an agent gets a path that is decoded and a query in pairs, and has no flow control: data that it sends faster than
the client reads is spooled. Its HTTP client decodes the job's content coding and leaves Content-Encoding as it was, so
that field is only passed on if the body begins as one in that coding does.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from pagent.errors import RequestRefusedError
from pagent.front.answers import CONTINUE, Fields
from pagent.front.exchange import BODY, ENDED, FIELDS, FINAL, STATUS, Exchange
from pagent.front.exchange_user import ExchangeUser
from pagent.front.routes import JobTarget
from pagent.http1.fields import Framing
from pagent.http1.incoming import IncomingHead
from pagent.http1.lines import lines_of
from pagent.http1.wire_text import fields_as_latin1
from pagent.rpc.calls import OutgoingCall
from pagent.rpc.directory import AgentLink
from pagent.rpc.spool import SpoolOpener
from pagent.wire import messages

_NOT_FOUND: Final = 404
_BAD_GATEWAY: Final = 502
#: Fields of a request that such an agent would pass to the job as they are.
_NOT_SENT: Final = frozenset({"transfer-encoding", "upgrade", "expect", "te", "trailer"})
#: Fields of an answer that are of the agent's own hop.
_NOT_PASSED: Final = frozenset(
    {"transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "proxy-connection"}
)
_ASCII: Final = "".join(map(chr, range(128)))
#: How a body in a coding begins (RFC 1952 2.3.1, RFC 8878 3.1.1); that of another coding is not known.
_MAGIC: Final = {"gzip": b"\x1f\x8b", "x-gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}


class FieldExchange(Exchange):
    """``http_request`` as routers of the field call it.

    :param spool: where an answer waits that the client does not read.
    """

    __slots__ = ("_encoded", "_spool")

    def __init__(self, user: ExchangeUser, head: IncomingHead, spool: SpoolOpener) -> None:
        super().__init__(user, head)
        self._spool = spool
        self._encoded: Fields | None = None  # the fields of an answer whose coding is not known yet

    def start(self, link: AgentLink, target: JobTarget) -> None:
        super().start(link, target)
        assert self._stream is not None
        self._stream.spool_with(self._spool)
        if self.head.framing is Framing.NONE or (self.head.framing is Framing.LENGTH and not self.head.length):
            self._stream.send(b"")  # the agent waits for the end of a body
        elif self.head.expects_continue:
            self._user.port.write(CONTINUE)  # the job's own cannot come

    def _make_call(self, link: AgentLink, target: JobTarget) -> OutgoingCall:
        check_port(target)
        path, query = decoded_target(target.target)
        arguments = (target.job.job_uid, self.head.method, path, query, field_headers(self.head))
        return link.connection.start_call(messages.BISTREAM, "http_request", arguments, {})

    def stream_message(self, value: Any) -> None:
        stage = self._stage
        if stage is STATUS:
            if type(value) is not int or value not in FINAL:
                # A 101 that the job sends to such an agent does not switch this connection.
                raise ValueError("an answer begins with its status, that of a final one")
            self._status = value
            self._stage = FIELDS
        elif stage is FIELDS and self._encoded is None:
            self._take_fields(value)
        elif stage is not ENDED:
            if not isinstance(value, (bytes, bytearray, memoryview)):
                self._break_off("the job broke its answer off")
                return
            if self._encoded is not None:
                self._take_coding(bytes(value[:4]))
            if value and self._stage is BODY:
                self._piece(value)

    def _take_fields(self, fields: Any) -> None:
        try:
            passed = [[name, value] for name, value in fields if name.lower() not in _NOT_PASSED]
            if self._mount is not None:
                passed = self._mount.rewritten(passed, self.head)
            if self._status == _BAD_GATEWAY and not passed:
                # The agent's own: it has no text (docs/contract.rst, "Proxy").
                self._fail(RequestRefusedError(_BAD_GATEWAY, "the job cannot be reached, or gave no valid answer"))
            elif any(name.lower() == "content-encoding" for name, _ in passed):
                self._encoded = passed
            else:
                self._begin(self._status, lines_of(passed))
                self._flush_soon()
        except (ValueError, TypeError, LookupError, AttributeError):
            self._break_off("the agent's answer is not valid")

    def _take_coding(self, start: bytes) -> None:
        """Begin an answer whose head names a coding, now that its body begins."""
        fields, self._encoded = self._encoded, None
        assert fields is not None
        coding = ", ".join([value for name, value in fields if name.lower() == "content-encoding"]).lower()
        magic = _MAGIC.get(coding, b"")
        is_decoded = not start.startswith(magic) or (coding == "deflate" and not _begins_zlib(start))
        if is_decoded:
            dropped = ("content-encoding", "content-length")
            fields = [pair for pair in fields if pair[0].lower() not in dropped]
        try:
            self._begin(self._status, lines_of(fields))
        except ValueError:
            self._break_off("the agent's answer is not valid")

    def _end(self, trailers: Fields) -> None:
        if self._encoded is not None:
            fields, self._encoded = self._encoded, None
            try:
                self._begin(self._status, lines_of(fields))
            except ValueError:
                self._break_off("the agent's answer is not valid")
                return
        super()._end(trailers)


def _begins_zlib(start: bytes) -> bool:
    """RFC 1950 section 2.2: the header of HTTP's content coding deflate."""
    return len(start) >= 2 and start[0] & 0x0F == 8 and int.from_bytes(start[:2], "big") % 31 == 0


def check_port(target: JobTarget) -> None:
    """RequestRefusedError if a request names a port: the methods of part 1 take none."""
    if target.port is not None:
        raise RequestRefusedError(_NOT_FOUND, "the agent of this job serves its only port: leave the port out")


def decoded_target(target: str) -> tuple[str, list[list[str]]]:
    """Return the path and the pairs of the query, both decoded. Octets that are not UTF-8 stay encoded."""
    path, _, query = quote(target, _ASCII, "utf-8", "surrogateescape").partition("?")
    pairs = parse_qsl(query, keep_blank_values=True, errors="replace") if query else []
    return _unquoted(path), [list(pair) for pair in pairs]


def _unquoted(path: str) -> str:
    if "%" not in path:
        return path
    try:
        return unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return path


def field_headers(head: IncomingHead) -> Fields:
    """Return the fields of a request as an agent of the field gets them: it takes no bytes that are not UTF-8."""
    fields = [pair for pair in head.fields if pair[0].lower() not in _NOT_SENT]
    return fields if head.is_ascii else fields_as_latin1(fields)
