"""The head of a request towards a job, from what a caller of ``http_request`` says.

Nothing that a caller says can begin a second request (RFC 9112 11.1, 11.2): method and names are tokens, the target is
encoded or checked, a field with a control character is refused, and what frames the body is written here, from exactly
one valid length or one ``chunked``.

Callers are peers, and an argument may be of any type. All faults of the arguments are :class:`ValueError` or
:class:`TypeError`; their texts name a field, never its value.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any, Final

from pagent.http1.fields import (
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    END_TO_END,
    EXPECT,
    HOST,
    ORDINARY,
    REFERENCE,
    SPECIAL,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    Framing,
    connection,
    content_length,
    is_clean,
    is_token,
    kind_of,
)
from pagent.http1.heads import LastHead
from pagent.limits import REQUEST_FIELDS_MAX, REQUEST_HEAD_MAX

__all__ = ["CHUNK_END", "LAST_CHUNK", "Framing", "RequestHead", "chunk_header", "encode_raw_request", "encode_request"]

#: A name and its value.
Pair = Sequence[str]

_SEQUENCES: Final = (list, tuple)

#: Joined to the lines with CRLF: the end of the last one, and the blank one.
_END: Final = ("", "")
_BLANKS: Final = " \t"

_UNDECIDED: Final = Framing.UNDECIDED
_BY_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED
_NO_BODY: Final = Framing.NONE

#: Kinds of fields that go on as they are.
_PASSED_WITH_IDENTITY: Final = frozenset({END_TO_END, CONTENT_ENCODING, REFERENCE})
_PASSED: Final = _PASSED_WITH_IDENTITY | {ACCEPT_ENCODING}
#: As ``raw`` has them. A "100 Continue" cannot cross to other callers: their bodies are sent at once, and nothing may
#: wait for it (RFC 9110 10.1.1).
_PASSED_RAW: Final = _PASSED | {EXPECT, TRAILER}
_PASSED_UPGRADE: Final = _PASSED_RAW | {UPGRADE}
#: Fields that go on changed, or decide what is written here.
_NOTED: Final = frozenset({CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE})

#: Behind the data of each chunk, and behind all chunks (RFC 9112 7.1).
CHUNK_END: Final = b"\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

#: Idempotent (RFC 9110 9.2.2), so that it may be sent again on another connection.
_METHODS: Final = {
    "GET": True,
    "HEAD": True,
    "OPTIONS": True,
    "TRACE": True,
    "PUT": True,
    "DELETE": True,
    "POST": False,
    "PATCH": False,
}
#: They mean something by a body, so that its absence is said (RFC 9110 8.6).
_EXPECT_BODY: Final = frozenset({"POST", "PUT", "PATCH"})

# pchar and "/" of RFC 3986. In a query less what means something to a form decoder, more what RFC 3986 adds.
_PATH_SAFE: Final = "-._~!$&'()*+,;=:@/"
_QUERY_SAFE: Final = "-._~!$'()*,:@/?"
_is_safe_path = re.compile(rf"/[0-9A-Za-z{re.escape(_PATH_SAFE)}]*").fullmatch
_is_safe_query = re.compile(rf"[0-9A-Za-z{re.escape(_QUERY_SAFE)}]*").fullmatch
# VCHAR less "#", and what is beyond ASCII, which clients do send. No blank: it would end the target.
#: A host and a port (RFC 3986 3.2.2, 3.2.3): what has anything else in it is sent by no client, and refused by servers.
_is_host = re.compile(r"[0-9A-Za-z\-._~!$&'()*+,;=%:\[\]]*").fullmatch
_is_raw_target = re.compile(r"/[^\x00-\x20#\x7f]*").fullmatch


def _quoting(safe: str) -> list[str]:
    """What each byte of UTF-8 becomes."""
    kept = set(safe + string.ascii_letters + string.digits)
    return [chr(byte) if chr(byte) in kept else f"%{byte:02X}" for byte in range(256)]


_PATH_QUOTING: Final = _quoting(_PATH_SAFE)
_QUERY_QUOTING: Final = _quoting(_QUERY_SAFE)


class RequestHead:
    """``data`` is the head with its blank line, ready to be written unless ``framing`` is UNDECIDED.

    ``length``: bytes of the body if ``framing`` is LENGTH, otherwise None; ``is_head``: the response has no body.
    ``host``: the value of Host; ``protocols``: those that the request offers to switch to, in lower case. Never
    changed, since the same request gives the same object; ``last`` is for what its responses have in common.
    """

    __slots__ = (
        "_bodiless",
        "data",
        "framing",
        "host",
        "idempotent",
        "is_head",
        "last",
        "length",
        "method",
        "protocols",
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
        self.is_head = method == "HEAD"
        self.last = LastHead()
        self._bodiless: RequestHead | None = None

    def decided(self, *, body: bool) -> RequestHead:
        """The head for an UNDECIDED framing once it is known whether a body comes: chunked, or none."""
        assert self.framing is _UNDECIDED
        if body:
            return self._with(b"Transfer-Encoding: chunked\r\n", _CHUNKED)
        if self._bodiless is None:
            self._bodiless = self._with(b"Content-Length: 0\r\n" if self.method in _EXPECT_BODY else b"", _NO_BODY)
        return self._bodiless

    def _with(self, line: bytes, framing: Framing) -> RequestHead:
        data = self.data[:-2] + line + b"\r\n"
        return RequestHead(data, framing, None, self.idempotent, self.method, self.host, self.protocols)


def chunk_header(size: int) -> bytes:
    """What goes before ``size`` bytes of data, :data:`CHUNK_END` going behind them."""
    if size <= 0:
        raise ValueError("a chunk of no bytes would end the body")
    return b"%x\r\n" % size


def encode_request(
    method: Any, path: Any, query: Sequence[Pair], headers: Sequence[Pair], *, authority: str, identity: bool
) -> RequestHead:
    """``http_request`` as routers of the field call it: ``path`` percent-decoded, ``query`` as decoded pairs.

    :param authority: the Host if the caller gives none.
    :param identity: ask the job for an uncompressed body, whatever the client accepts. A Range stays: it is then one of
        the uncompressed body.
    """
    passed = _PASSED_WITH_IDENTITY if identity else _PASSED
    return _encode(method, _target(path, query), headers, authority, passed)


def encode_raw_request(
    method: Any, target: Any, headers: Sequence[Pair], *, authority: str, upgrade: bool = False
) -> RequestHead:
    """``http_request(..., raw=True)``: nothing is rewritten but hop-by-hop fields and framing.

    The head says whether a body comes. With ``upgrade`` the offer of another protocol goes along; ValueError if there
    is none, or it is one that cannot be carried.

    :param target: in origin form, or ``*`` for OPTIONS (RFC 9112 3.2.1, 3.2.4). The absolute form is for proxies, and
        could say another host than the Host field.
    """
    if not isinstance(target, str):
        raise TypeError("the target must be a string")
    if _is_raw_target(target) is None and (method, target) != ("OPTIONS", "*"):
        raise ValueError("the target is not in origin form")
    return _encode(method, target, headers, authority, _PASSED_UPGRADE if upgrade else _PASSED_RAW)


def _target(path: Any, query: Sequence[Pair]) -> str:
    if not isinstance(path, str):
        raise TypeError("the path must be a string")
    target: str = path
    if len(target) > REQUEST_HEAD_MAX:
        raise ValueError("the path is too long")
    if _is_safe_path(target) is None:
        target = _quote(target if target.startswith("/") else "/" + target, _PATH_QUOTING, "path")
    if not query and isinstance(query, _SEQUENCES):
        return target
    _check_pairs(query, "query", REQUEST_HEAD_MAX)
    if sum(len(name) + len(value) + 2 for name, value in query) > REQUEST_HEAD_MAX:
        raise ValueError("the query is too long")
    return target + "?" + "&".join([f"{_quote_query(name)}={_quote_query(value)}" for name, value in query])


def _quote_query(text: str) -> str:
    return text if _is_safe_query(text) is not None else _quote(text, _QUERY_QUOTING, "query")


def _quote(text: str, quoting: list[str], what: str) -> str:
    """Percent-encoding of the text's UTF-8. What was decoded with surrogateescape becomes the bytes that it was."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("latin-1").translate(quoting)
    except UnicodeEncodeError:
        raise ValueError(f"the {what} has a lone surrogate") from None


def _encode(method: Any, target: str, headers: Sequence[Pair], authority: str, passed: frozenset[int]) -> RequestHead:
    idempotent = _METHODS.get(method)
    if idempotent is None:
        idempotent = _check_method(method)
    lines = [f"{method} {target} HTTP/1.1", ""]
    framed = _add_fields(lines, headers, passed)
    host = _host(framed[HOST]) if HOST in framed else authority
    # The first field, where RFC 9110 7.2 wants it.
    lines[1] = f"Host: {host}"
    if CONNECTION in framed:
        _drop_named(lines, framed[CONNECTION])
    if passed is _PASSED_WITH_IDENTITY:
        lines.append("Accept-Encoding: identity")
    protocols: frozenset[str] = frozenset()
    if TE in framed and TRAILER in passed and _takes_trailers(framed[TE]):
        lines.append("TE: trailers")
    if passed is _PASSED_UPGRADE:
        protocols = _protocols(framed)
        lines.append("Connection: Upgrade")
    framing = _UNDECIDED
    length = None
    if TRANSFER_ENCODING in framed:
        framing = _CHUNKED
        lines.append(_transfer_line(framed))
    elif CONTENT_LENGTH in framed:
        framing = _BY_LENGTH
        for value in framed[CONTENT_LENGTH]:
            length = content_length(value, length)
        lines.append(f"Content-Length: {length}")
    head = RequestHead(_joined(lines), framing, length, idempotent, method, host, protocols)
    # Who takes the wire as it is says it in the head, or there is no body.
    return head.decided(body=False) if framing is _UNDECIDED and EXPECT in passed else head


def _add_fields(lines: list[str], headers: Sequence[Pair], passed: frozenset[int]) -> dict[int, list[str]]:
    """Add the fields that go on to ``lines``; the values of those that are written anew, by kind."""
    framed: dict[int, list[str]] = {}
    if not isinstance(headers, _SEQUENCES) or len(headers) > REQUEST_FIELDS_MAX:
        _check_pairs(headers, "headers", REQUEST_FIELDS_MAX)
    add = lines.append
    try:
        for name, value in headers:
            prefix = ORDINARY.get(name)
            if prefix is not None:
                add(prefix + value.strip(_BLANKS))
                continue
            kind = SPECIAL.get(name) or kind_of(name)
            if len(name) == 1:
                _check_pairs(headers, "headers", REQUEST_FIELDS_MAX)  # a "pair" may be a string of two characters
            if kind in passed:
                add(f"{name}: {value.strip(_BLANKS)}")
            if kind in _NOTED:
                framed.setdefault(kind, []).append(value.strip(_BLANKS))
    except (TypeError, ValueError, AttributeError):
        _check_pairs(headers, "headers", REQUEST_FIELDS_MAX)
        raise
    return framed


def _check_method(method: Any) -> bool:
    """Whether a method that is not one of the usual ones is idempotent: nobody knows."""
    if not isinstance(method, str):
        raise TypeError("the method must be a string")
    if not is_token(method):
        raise ValueError("the method is not a token")
    # Methods are case-sensitive, but not everywhere.
    if method.upper() == "CONNECT":
        raise ValueError("CONNECT is refused")
    return False


def _check_pairs(pairs: Sequence[Pair], what: str, most: int) -> None:
    if not isinstance(pairs, _SEQUENCES):
        raise TypeError(f"{what} must be a list of pairs")
    if len(pairs) > most:
        raise ValueError(f"too many {what}")
    for pair in pairs:
        if not isinstance(pair, _SEQUENCES):
            raise TypeError(f"{what} must be a list of pairs")
        if len(pair) != 2:
            raise ValueError(f"{what} must be a list of pairs")
        if not (isinstance(pair[0], str) and isinstance(pair[1], str)):
            raise TypeError(f"{what} must be pairs of strings")


def _host(values: list[str]) -> str:
    if len(values) > 1:
        # A fault even if they agree (RFC 9112 3.2).
        raise ValueError("more than one Host")
    if _is_host(values[0]) is None:
        raise ValueError("header field 'Host' is not a host and a port")
    return values[0]


def _takes_trailers(values: list[str]) -> bool:
    """RFC 9110 10.1.4. The other codings of a TE field are of transfer codings, which are undone here."""
    return any(part.strip(_BLANKS).lower() == "trailers" for value in values for part in value.split(","))


def _protocols(framed: dict[int, list[str]]) -> frozenset[str]:
    """What the Upgrade fields offer (RFC 9110 7.8)."""
    parts = [part.strip(_BLANKS).lower() for value in framed.get(UPGRADE, ()) for part in value.split(",")]
    offered = frozenset(part for part in parts if part)
    if not offered:
        raise ValueError("an upgrade without the header field 'Upgrade'")
    if "h2c" in offered:
        # HTTP/2 would have the caller's requests in it, unchecked; RFC 9113 has made it obsolete.
        raise ValueError("an upgrade to 'h2c' is refused")
    return offered


def _drop_named(lines: list[str], values: list[str]) -> None:
    named = connection(values).named
    if named:
        lines[2:] = [line for line in lines[2:] if line.partition(":")[0].lower() not in named]


def _transfer_line(framed: dict[int, list[str]]) -> str:
    """RFC 9112 6.1, less all that is ambiguous."""
    values = framed[TRANSFER_ENCODING]
    if CONTENT_LENGTH in framed:
        raise ValueError("both Transfer-Encoding and Content-Length")
    # Other codings would have to be undone here, since nobody asked the job whether it knows them.
    if len(values) != 1 or values[0].lower() != "chunked":
        raise ValueError("Transfer-Encoding is not chunked")
    return "Transfer-Encoding: chunked"


def _joined(lines: list[str]) -> bytes:
    lines += _END
    try:
        # What was decoded with surrogateescape goes out as the bytes that it was.
        data = "\r\n".join(lines).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError(f"header field {_culprit(lines)!r} has a lone surrogate") from None
    if len(data) > REQUEST_HEAD_MAX:
        raise ValueError("the request head is too large")
    if not is_clean(data, len(lines) - 1):
        raise ValueError(f"header field {_culprit(lines)!r} has a control character")
    return data


def _culprit(lines: list[str]) -> str:
    """The name of the first field that cannot be written."""
    for line in lines:
        try:
            if is_clean(line.encode("utf-8", "surrogateescape"), 0):
                continue
        except UnicodeEncodeError:
            pass
        break
    return line.partition(":")[0]
