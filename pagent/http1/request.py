"""Encode the head of a request to a job, from the arguments of ``http_request``.

No argument can begin a second request (RFC 9112 11.1, 11.2): the method and names are tokens, the target is encoded or
checked, a field with a control character is refused, and the field that frames the body is written here, from exactly
one valid length or one ``chunked``.

Callers are peers, and an argument may be of any type. Each fault of the arguments is a ValueError or a TypeError, whose
text may name a field and never its value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
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
    is_token,
    kind_of_token,
)
from pagent.http1.heads import EXPECT_BODY, RequestHead
from pagent.http1.lines import LEFT_OUT, lines_of, pairs_of, scan, watch, write_lines
from pagent.http1.target import Pair, check_pairs, check_target, encode_target
from pagent.http1.wire_text import from_wire
from pagent.limits import REQUEST_FIELDS_MAX, REQUEST_HEAD_MAX

# Access to a member of an Enum costs three times as much as to a constant, and every request needs these.
_NO_BODY: Final = Framing.NONE
_UNDECIDED: Final = Framing.UNDECIDED

_SEQUENCES: Final = (list, tuple)

_BLANKS: Final = " \t"
_NO_HOST: Final = ("Host", "")
_NO_PROTOCOLS: Final[frozenset[str]] = frozenset()
_IDENTITY: Final = ("Accept-Encoding", "identity")

#: Kinds of fields that are passed on unchanged.
_PASSED_WITH_IDENTITY: Final = frozenset({END_TO_END, CONTENT_ENCODING, REFERENCE})
_PASSED: Final = _PASSED_WITH_IDENTITY | {ACCEPT_ENCODING}
#: With ``raw``. A "100 Continue" cannot be passed to other callers: their bodies are sent at once, and nothing may
#: wait for it (RFC 9110 10.1.1).
_PASSED_RAW: Final = _PASSED | {EXPECT, TRAILER}
_PASSED_UPGRADE: Final = _PASSED_RAW | {UPGRADE}
#: Fields that are passed on changed, or that decide which fields are written here.
_NOTED: Final = frozenset({ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE})

#: Lines of a raw request that are not passed on unchanged.
_WATCHED: Final = watch({name.lower(): kind | LEFT_OUT for name, kind in SPECIAL.items() if kind not in _PASSED_RAW})
_WATCHED_UPGRADE: Final = watch(
    {
        name.lower(): kind if kind == UPGRADE else kind | LEFT_OUT
        for name, kind in SPECIAL.items()
        if kind not in _PASSED_RAW
    }
)

#: Whether a method is idempotent (RFC 9110 9.2.2), so that it may be sent again on another connection.
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

#: A host and a port (RFC 3986 3.2.2, 3.2.3). No client sends another character in it, and servers refuse them.
_host_form = re.compile(r"[0-9A-Za-z\-._~!$&'()*+,;=%:\[\]]*").fullmatch
#: Nearly all requests of an agent name a few hosts.
_HOSTS_KEPT: Final = 64


def encode_request(
    method: Any, path: Any, query: Sequence[Pair], headers: Sequence[Pair], *, authority: str, identity: bool
) -> RequestHead:
    """Encode a request whose ``path`` is percent-decoded, and whose ``query`` are decoded pairs.

    :param authority: the Host if ``headers`` have none.
    :param identity: ask the job for an uncompressed body, whatever the client accepts. A Range stays: it is then one of
        the uncompressed body.
    """
    passed = _PASSED_WITH_IDENTITY if identity else _PASSED
    return _encode(method, encode_target(path, query), headers, authority, passed)


def encode_raw_request(
    method: Any, target: Any, headers: Sequence[Pair], *, authority: str, upgrade: bool = False
) -> RequestHead:
    """Encode a request in which only hop-by-hop fields and framing are rewritten.

    The head says whether a body comes. With ``upgrade`` the offer of another protocol goes along; ValueError if there
    is none, or it is one that cannot be carried.

    :param target: as it stands on the wire; bytes if it is not UTF-8.
    """
    target = from_wire(target)
    check_target(method, target)
    return _encode(method, target, headers, authority, _PASSED_UPGRADE if upgrade else _PASSED_RAW)


def encode_raw_lines(method: Any, target: Any, lines: bytes, *, authority: str, upgrade: bool = False) -> RequestHead:
    """Encode a request as :func:`encode_raw_request` does, from the lines of its fields.

    Lines that are passed on are not decoded. A caller that sends lines gets the heads of its answer as lines.

    :param lines: the fields, with a CRLF each (docs/protocol.rst, "``lines``: heads as field lines").
    """
    target = from_wire(target)
    check_target(method, target)
    idempotent = _is_idempotent(method)
    if len(lines) > REQUEST_HEAD_MAX:
        raise ValueError("the request head is too large")
    _, count, kept, found = scan(lines, False, _WATCHED_UPGRADE if upgrade else _WATCHED)
    if count > REQUEST_FIELDS_MAX:
        raise ValueError("too many headers")
    noted: dict[int, list[str]] = {}
    for kind, _, value in found:
        _note(noted, kind, value)
    host = _host(noted[HOST]) if HOST in noted else authority
    if CONNECTION in noted and (named := connection(noted[CONNECTION]).named):
        kept = lines_of([pair for pair in pairs_of(kept) if pair[0].lower() not in named])
    own = _OwnFields(method, noted, _PASSED_UPGRADE if upgrade else _PASSED_RAW)
    first = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n"
    last = lines_of(own.fields) if own.fields else b""
    try:
        data = b"".join((first.encode("utf-8", "surrogateescape"), kept, last, b"\r\n"))
    except UnicodeEncodeError:
        raise ValueError("the target has a lone surrogate") from None
    head = own.head(data, idempotent, host)
    head.in_lines = True
    return head


def _encode(method: Any, target: str, headers: Sequence[Pair], authority: str, passed: frozenset[int]) -> RequestHead:
    idempotent = _is_idempotent(method)
    fields: list[Pair] = [_NO_HOST]
    noted = _add_fields(fields, headers, passed)
    host = _host(noted[HOST]) if HOST in noted else authority
    # The first field, as RFC 9110 7.2 recommends.
    fields[0] = ("Host", host)
    if CONNECTION in noted:
        _drop_named(fields, noted[CONNECTION])
    own = _OwnFields(method, noted, passed)
    fields += own.fields
    head = own.head(write_lines(f"{method} {target} HTTP/1.1", fields), idempotent, host)
    head.takes_compressed = ACCEPT_ENCODING in noted and _takes_compressed(noted[ACCEPT_ENCODING])
    return head


class _OwnFields:
    """The fields that are written here, after the caller's fields, and the properties of the request in them."""

    __slots__ = ("fields", "framing", "length", "method", "protocols")

    def __init__(self, method: str, noted: dict[int, list[str]], passed: frozenset[int]) -> None:
        self.method = method
        self.fields: list[Pair] = []
        self.protocols = _NO_PROTOCOLS
        self.length: int | None = None
        if passed is _PASSED_WITH_IDENTITY:
            self.fields.append(_IDENTITY)
        if TE in noted and TRAILER in passed and _accepts_trailers(noted[TE]):
            self.fields.append(("TE", "trailers"))
        if passed is _PASSED_UPGRADE:
            self.protocols = _protocols(noted)
            self.fields.append(("Connection", "Upgrade"))
        self.framing = self._framed(noted)
        if self.framing is _UNDECIDED and EXPECT in passed:
            # A raw head that announces no body has none.
            self.framing = _NO_BODY
            if method in EXPECT_BODY:
                self.fields.append(("Content-Length", "0"))

    def _framed(self, noted: dict[int, list[str]]) -> Framing:
        """Add the field that frames the body, if the caller has given one."""
        if TRANSFER_ENCODING in noted:
            _check_transfer(noted)
            self.fields.append(("Transfer-Encoding", "chunked"))
            return Framing.CHUNKED
        if CONTENT_LENGTH not in noted:
            return _UNDECIDED
        for value in noted[CONTENT_LENGTH]:
            self.length = content_length(value, self.length)
        self.fields.append(("Content-Length", str(self.length)))
        return Framing.LENGTH

    def head(self, data: bytes, idempotent: bool, host: str) -> RequestHead:
        """Return the head whose bytes are ``data``."""
        if len(data) > REQUEST_HEAD_MAX:
            raise ValueError("the request head is too large")
        return RequestHead(data, self.framing, self.length, idempotent, self.method, host, self.protocols)


def _add_fields(fields: list[Pair], headers: Sequence[Pair], passed: frozenset[int]) -> dict[int, list[str]]:
    """Add those of ``headers`` that are passed on to ``fields``; return the values of the noted ones, by kind."""
    noted: dict[int, list[str]] = {}
    if not isinstance(headers, _SEQUENCES) or len(headers) > REQUEST_FIELDS_MAX:
        check_pairs(headers, "headers", REQUEST_FIELDS_MAX)
    try:
        for pair in headers:
            name = pair[0]
            if name in ORDINARY:
                fields.append(pair)
                continue
            kind = kind_of_token(name)
            if kind in passed:
                fields.append(pair)
            if kind in _NOTED:
                value: Any  # bytes if it is not UTF-8
                _, value = pair
                _note(noted, kind, from_wire(value).strip(_BLANKS))
    except (TypeError, ValueError, LookupError, AttributeError):
        check_pairs(headers, "headers", REQUEST_FIELDS_MAX)
        raise
    return noted


def _note(noted: dict[int, list[str]], kind: int, value: str) -> None:
    if kind in noted:
        noted[kind].append(value)
    else:
        noted[kind] = [value]


def _is_idempotent(method: Any) -> bool:
    known = _METHODS.get(method)
    return _check_method(method) if known is None else known


def _check_method(method: Any) -> bool:
    """Check a method that is not in the table, and return False: it is not known to be idempotent."""
    if not isinstance(method, str):
        raise TypeError("the method must be a string")
    if not is_token(method):
        raise ValueError("the method is not a token")
    # Methods are case-sensitive, but some servers ignore that.
    if method.upper() == "CONNECT":
        raise ValueError("CONNECT is refused")
    return False


def _host(values: list[str]) -> str:
    if len(values) > 1:
        # A fault even if they agree (RFC 9112 3.2).
        raise ValueError("more than one Host")
    if not _is_host(values[0]):
        raise ValueError("header field 'Host' is not a host and a port")
    return values[0]


@lru_cache(maxsize=_HOSTS_KEPT)
def _is_host(host: str) -> bool:
    return _host_form(host) is not None


def _accepts_trailers(values: list[str]) -> bool:
    """Look for "trailers" (RFC 9110 10.1.4). Other values are transfer codings, which are undone here."""
    return any(part.strip(_BLANKS).lower() == "trailers" for value in values for part in value.split(","))


def _takes_compressed(values: list[str]) -> bool:
    """Look for a coding anywhere in Accept-Encoding, also with ``q=0``, because old routers do so."""
    text = ",".join(values).lower()
    return "deflate" in text or "gzip" in text


def _protocols(noted: dict[int, list[str]]) -> frozenset[str]:
    """Return the protocols that the Upgrade fields offer (RFC 9110 7.8)."""
    parts = [part.strip(_BLANKS).lower() for value in noted.get(UPGRADE, ()) for part in value.split(",")]
    offered = frozenset(part for part in parts if part)
    if not offered:
        raise ValueError("an upgrade without the header field 'Upgrade'")
    if "h2c" in offered:
        # HTTP/2 would carry further requests of the caller, unchecked; RFC 9113 has made the upgrade obsolete.
        raise ValueError("an upgrade to 'h2c' is refused")
    return offered


def _drop_named(fields: list[Pair], values: list[str]) -> None:
    """Drop the fields that Connection names."""
    named = connection(values).named
    if named:
        fields[1:] = [pair for pair in fields[1:] if pair[0].lower() not in named]


def _check_transfer(noted: dict[int, list[str]]) -> None:
    """Refuse every ambiguous form of Transfer-Encoding (RFC 9112 6.1)."""
    values = noted[TRANSFER_ENCODING]
    if CONTENT_LENGTH in noted:
        raise ValueError("both Transfer-Encoding and Content-Length")
    # Any other coding would have to be undone here, because the job has not said that it supports it.
    if len(values) != 1 or values[0].lower() != "chunked":
        raise ValueError("Transfer-Encoding is not chunked")
