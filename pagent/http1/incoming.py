"""Parse the head of a request that a client sends to the router (RFC 9112). No socket, no clock.

A head that two readers could understand in two ways is a :class:`BadRequest`, whatever a lenient reader would make of
it: a request that the router and the job read differently is request smuggling (RFC 9112 11.2). Fields keep their
order and spelling. They are sorted here, in the one pass that reads them, into fields for the job, fields that
say where a request came from, and the router's own.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from pagent.errors import RequestRefusedError
from pagent.http1.cookies import MARK, others, own_in
from pagent.http1.fields import Framing, connection, is_token
from pagent.http1.incoming_fields import (
    CONNECTION,
    CONTENT_LENGTH,
    COOKIE,
    EXPECT,
    FORWARDED,
    HOST,
    OWN,
    REQUEST_ID,
    TRANSFER_ENCODING,
    UPGRADE,
    WATCHED,
)
from pagent.http1.lines import Scanned, lines_of, pairs_of, scan
from pagent.limits import BODY_LENGTH_MAX
from pagent.router_limits import INCOMING_FIELD_MAX, INCOMING_FIELDS_MAX

_BAD_REQUEST: Final = 400
_METHOD_NOT_ALLOWED: Final = 405
TARGET_TOO_LONG: Final = 414
FIELDS_TOO_LARGE: Final = 431


class BadRequest(RequestRefusedError):
    """The client's request is malformed, ambiguous or too large: it is answered, and its connection closed."""

    def __init__(self, text: str, status: int = _BAD_REQUEST) -> None:
        super().__init__(status, text)


_absolute = re.compile(r"https?://([^/?#\x00-\x20\x7f]*)([^#\x00-\x20\x7f]*)", re.IGNORECASE).fullmatch
_host_form = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z\-._~!$&'()*+,;=%]*)(?::[0-9]*)?").fullmatch
_VERSIONS: Final = {"HTTP/1.1": 1, "HTTP/1.0": 0}
#: Methods that need no check.
_USUAL_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LENGTH_DIGITS_MAX: Final = len(str(BODY_LENGTH_MAX))

#: Nearly all requests of a listener name a few hosts.
_HOSTS_KEPT: Final = 64

_NO_BODY: Final = Framing.NONE
_BY_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED


class IncomingHead:
    """The head of a request.

    ``target``: in origin form, or ``*``; ``minor``: of the version, 0 or 1; ``host``: the value of Host, or empty.
    ``forwarded``, ``own``: [name, value] of the fields that name a request's origin, and of ``X-Pagent-*``.
    ``own_cookies``: the router's own, each as ``name=value``; None for none. ``answer_lines``: lines that the router
    adds to the answer.
    ``request_id``: the value of X-Request-Id, or empty. ``length``: bytes of the body if ``framing`` is LENGTH.
    ``upgrade``: the protocols that it offers to switch to, in lower case; h2c is not among them.
    ``is_ascii``: whether all of it is; otherwise bytes that are not UTF-8 are lone surrogates (pagent.http1.wire_text).
    ``expects_continue``: the client may wait for 100 before it sends the body. ``keep_alive``: it takes more answers.
    """

    __slots__ = (
        "_lines",
        "_pairs",
        "answer_lines",
        "expects_continue",
        "forwarded",
        "framing",
        "host",
        "is_ascii",
        "keep_alive",
        "length",
        "method",
        "minor",
        "own",
        "own_cookies",
        "request_id",
        "target",
        "upgrade",
    )

    def __init__(self, method: str, target: str, minor: int) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.forwarded: list[list[str]] = []
        self.own: list[list[str]] = []
        self.own_cookies: list[str] | None = None
        self.answer_lines = b""
        self.host = ""
        self.request_id = ""
        self.framing = _NO_BODY
        self.length = 0
        self.keep_alive = minor == 1
        self.expects_continue = False
        self.upgrade = ""
        self.is_ascii = True
        # The forwarded fields: lines until a caller needs them as pairs.
        self._lines = b""
        self._pairs: list[list[str]] | None = None

    @property
    def fields(self) -> list[list[str]]:
        """[name, value] of the forwarded fields: without Connection and the fields it names; Upgrade only if offered.

        Cookie is without the router's own cookies. A change of the list is a change of the request.
        """
        if self._pairs is None:
            self._pairs = pairs_of(self._lines)
        return self._pairs

    @fields.setter
    def fields(self, pairs: list[list[str]]) -> None:
        self._pairs = pairs

    @property
    def lines(self) -> bytes:
        """The same fields as lines; ValueError if one of them was changed to a value that cannot be written."""
        return self._lines if self._pairs is None else lines_of(self._pairs)

    def add_lines(self, lines: bytes) -> None:
        """Add fields to the forwarded ones."""
        if self._pairs is None:
            self._lines += lines
        else:
            self._pairs += pairs_of(lines)

    def values(self, name: str) -> list[str]:
        """Return the values of a forwarded field; ``name`` in lower case."""
        if self._pairs is None and name.encode() not in self._lines.lower():
            return []
        pairs = pairs_of(self._lines) if self._pairs is None else self._pairs
        return [value for given, value in pairs if given.lower() == name]

    def value(self, name: str) -> str:
        """Return the values of a forwarded field, joined with commas; ``name`` in lower case."""
        return ", ".join(self.values(name))

    def remove(self, name: str) -> None:
        """Remove a forwarded field, in every spelling; ``name`` in lower case, with "-" for "_"."""
        if self._pairs is None and name.encode() not in self._lines.lower().replace(b"_", b"-"):
            return
        self._pairs = [pair for pair in self.fields if pair[0].lower().replace("_", "-") != name]


def read_head(block: bytes) -> IncomingHead:
    """Read a head less its blank line; BadRequest as the module says."""
    found: Scanned | None
    try:
        found = scan(block, True, WATCHED)
    except ValueError:
        found = None
    head = _request_line(found[0] if found is not None else _first_line(block))
    head.is_ascii = block.isascii()
    if len(block) > INCOMING_FIELD_MAX and max(map(len, block.split(b"\r\n")[1:])) > INCOMING_FIELD_MAX:
        raise BadRequest("a field of the request is too large", FIELDS_TOO_LARGE)
    if found is None:
        raise BadRequest("a field of the request is not valid, or has a control character")
    _, count, lines, fields = found
    if count > INCOMING_FIELDS_MAX:
        raise BadRequest("the request has too many fields", FIELDS_TOO_LARGE)
    head.add_lines(lines)
    _read_fields(head, fields)
    if not _is_origin_form(head.target):
        head.target = _origin_form(head)
    return head


def _first_line(block: bytes) -> str:
    return block.partition(b"\r\n")[0].decode("utf-8", "surrogateescape")


def _is_origin_form(target: str) -> bool:
    """Return whether a target without a blank is in origin form. The scan has refused all controls but HTAB."""
    return target.startswith("/") and "#" not in target and "\t" not in target


def _request_line(line: str) -> IncomingHead:
    parts = line.split(" ")
    if len(parts) != 3 or (minor := _VERSIONS.get(parts[2])) is None:
        raise BadRequest("not the request line of HTTP/1.1 or HTTP/1.0")
    method, target, _ = parts
    if method not in _USUAL_METHODS:
        _check_method(method)
    if len(target) > INCOMING_FIELD_MAX:
        raise BadRequest("the request's target is too long", TARGET_TOO_LONG)
    return IncomingHead(method, target, minor)


def _check_method(method: str) -> None:
    if not is_token(method):
        raise BadRequest("the request's method is not a token")
    if method.upper() == "CONNECT":
        raise BadRequest("the method CONNECT is not allowed", _METHOD_NOT_ALLOWED)


def _read_fields(head: IncomingHead, found: list[tuple[int, str, str]]) -> None:
    """Read the watched fields, which concern this hop."""
    hosts = lengths = codings = 0
    options: list[str] = []
    offers: list[str] = []
    for kind, name, value in found:
        if kind == HOST:
            hosts += 1
            head.host = value
        elif kind == CONNECTION:
            options.append(value)
        elif kind == COOKIE:
            if MARK in value:
                head.own_cookies = [*(head.own_cookies or ()), *own_in(value)]
                _conceal_cookies(head)
        elif kind == CONTENT_LENGTH:
            lengths += 1
            head.length = _content_length(value)
            head.framing = _BY_LENGTH
        elif kind == TRANSFER_ENCODING:
            codings += 1
            _check_coding(value, head.minor)
            head.framing = _CHUNKED
        elif kind == EXPECT:
            _expect(head, value)
        elif kind == UPGRADE:
            offers.append(value)
        elif kind == REQUEST_ID:
            head.request_id = value
        elif kind == FORWARDED:
            head.forwarded.append([name, value])
        elif kind == OWN:
            head.own.append([name, value])
    _check_host(head, hosts)
    if lengths + codings > 1:
        raise BadRequest("the request says the length of its body more than once")
    if options:
        _connection(head, options, offers)


def _conceal_cookies(head: IncomingHead) -> None:
    """Take the router's own cookies out of the fields Cookie."""
    kept = [[name, others(value) if name.lower() == "cookie" else value] for name, value in head.fields]
    head.fields = [pair for pair in kept if pair[1] or pair[0].lower() != "cookie"]


def _expect(head: IncomingHead, value: str) -> None:
    # RFC 9110 10.1.1: a client of HTTP/1.0 cannot mean it.
    if head.minor == 0:
        head.fields = [pair for pair in head.fields if pair[0].lower() != "expect"]
    else:
        head.expects_continue = value.lower() == "100-continue"


def _content_length(value: str) -> int:
    """Return the number of a Content-Length (RFC 9110 8.6). A list of equal numbers is refused, too."""
    if not (value.isascii() and value.isdigit()) or len(value) > _LENGTH_DIGITS_MAX or int(value) > BODY_LENGTH_MAX:
        raise BadRequest("the request's Content-Length is not a valid number")
    return int(value)


def _check_coding(value: str, minor: int) -> None:
    """Refuse a coding that is ambiguous, or that a proxy would have to undo (RFC 9112 6.1)."""
    if minor == 0:
        raise BadRequest("Transfer-Encoding in a request of HTTP/1.0")
    if value.lower() != "chunked":
        raise BadRequest("the request's Transfer-Encoding is not chunked")


def _check_host(head: IncomingHead, hosts: int) -> None:
    """Refuse a missing, repeated or invalid Host (RFC 9112 3.2)."""
    if hosts > 1 or (hosts == 0 and head.minor == 1):
        raise BadRequest("a request needs one field Host")
    if not _is_host(head.host):
        raise BadRequest("the request's Host is not a host and a port")


@lru_cache(maxsize=_HOSTS_KEPT)
def _is_host(host: str) -> bool:
    return _host_form(host) is not None


def _connection(head: IncomingHead, options: list[str], offers: list[str]) -> None:
    try:
        found = connection(options)
    except ValueError:
        raise BadRequest("the request's Connection is not valid") from None
    if found.close:
        head.keep_alive = False
    elif found.keep_alive:
        head.keep_alive = True
    if found.named:
        head.fields[:] = [pair for pair in head.fields if pair[0].lower() not in found.named]
    if found.upgrade and offers and head.minor == 1:
        protocols = [each.strip(" \t") for each in ",".join(offers).split(",")]
        # HTTP/2 would have requests in it that are not read here; RFC 9113 3.1 has made its upgrade obsolete.
        kept = [each for each in protocols if each and each.lower() != "h2c"]
        head.upgrade = ", ".join(kept).lower()
        if kept:
            head.add_lines(lines_of([("Upgrade", ", ".join(kept))]))


def _origin_form(head: IncomingHead) -> str:
    """Return the origin form of a target that is ``*`` or in absolute form (RFC 9112 3.2)."""
    if head.target == "*" and head.method == "OPTIONS":
        return "*"
    found = _absolute(head.target)
    if found is None:
        raise BadRequest("the request's target is not valid")
    if not found[1] or _plain_authority(head.target, found[1]) != _plain_authority(head.target, head.host):
        raise BadRequest("the request's target names another host than its Host")
    rest: str = found[2]
    if not rest and head.method == "OPTIONS":
        return "*"
    return rest if rest.startswith("/") else "/" + rest


def _plain_authority(target: str, authority: str) -> str:
    """Return the authority in lower case, without the default port of its scheme."""
    default = ":443" if target[:5].lower() == "https" else ":80"
    return authority.lower().removesuffix(default).removesuffix(":")
