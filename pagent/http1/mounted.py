"""Rewrite the head of a job's answer that a client gets below a prefix of an origin (docs/router.rst, "Path mode").

The job does not know the prefix: it redirects to ``/login``, and sets cookies for ``/``. On an origin that it shares
with other jobs, both concern all of them. So references and the paths of cookies are put below the prefix, and fields
that act on a whole origin are left out. Bodies are never rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from pagent.http1.incoming import IncomingHead
from pagent.http1.references import refresh_reference

Fields = list[list[str]]

# The treatment of a field. Plain numbers, as in pagent.http1.fields.
_REFERENCE: Final = 1
_REFRESH: Final = 2
_COOKIE: Final = 3
_DROPPED: Final = 4

_KINDS: Final = {
    "location": _REFERENCE,
    "content-location": _REFERENCE,
    "refresh": _REFRESH,
    "set-cookie": _COOKIE,
    # They act on the whole origin, or on all that a service worker of one path may do on others.
    "alt-svc": _DROPPED,
    "clear-site-data": _DROPPED,
    "nel": _DROPPED,
    "report-to": _DROPPED,
    "service-worker-allowed": _DROPPED,
    "strict-transport-security": _DROPPED,
}

#: Scheme, authority and the rest of a reference with an authority. Browsers take a backslash for a slash.
_with_authority = re.compile(r"(?:(https?):)?[/\\]{2,}([^/?#\\]*)(.*)", re.IGNORECASE | re.DOTALL).fullmatch
#: The path of a path-absolute reference, and its query and fragment.
_path_absolute = re.compile(r"([/\\][^?#]*)(.*)", re.DOTALL).fullmatch
#: A segment that is "." or "..", also in percent-encoding, as browsers resolve it (URL Standard, "path state").
_has_dots = re.compile(r"[/\\](?:\.|%2e){1,2}(?:[/\\]|$)", re.IGNORECASE).search
_encoded_dot = re.compile(r"%2e", re.IGNORECASE)

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_BLANKS: Final = " \t"
#: Names of cookies with this beginning, in any case, are for a whole origin (RFC 6265bis 4.1.3.2).
_WHOLE_ORIGIN: Final = "__host-"
#: Before a name in Set-Cookie, as in pagent.http1.cookies.
_BEFORE_NAME: Final = _BLANKS + "="


class Mount:
    """The prefix of the answer to one request.

    :param prefix: ``/<job>`` or ``/<job>:<port>``, without a slash at its end.
    :param cookie_dropped: is called for each cookie that is left out because its name asks for a whole origin.
    """

    __slots__ = ("_below", "_cookie_dropped", "_prefix")

    def __init__(self, prefix: str, cookie_dropped: Callable[[], None]) -> None:
        self._prefix = prefix
        self._below = prefix + "/"
        self._cookie_dropped = cookie_dropped

    def rewritten(self, fields: Fields, request: IncomingHead) -> Fields:
        """Return the fields of an answer to ``request`` for the client.

        TypeError, ValueError or AttributeError if they are not a list of pairs of strings.
        """
        kept = []
        for pair in fields:
            name, value = pair
            kind = _KINDS.get(name.lower())
            if kind is None:
                kept.append(pair)
            elif kind == _REFERENCE:
                kept.append([name, self._reference(value, request)])
            elif kind == _REFRESH:
                start, end = refresh_reference(value)
                kept.append([name, value[:start] + self._reference(value[start:end], request) + value[end:]])
            elif kind == _COOKIE:
                cookie = self._cookie(value)
                if cookie is not None:
                    kept.append([name, cookie])
        return kept

    def _reference(self, reference: str, request: IncomingHead) -> str:
        """Put a reference below the prefix if it is path-absolute, or absolute with the request's own origin."""
        found = _with_authority(reference)
        if found is None:
            path = _path_absolute(reference)
            return reference if path is None else self._path(path[1]) + path[2]
        if not _is_own(found[1], found[2], request):
            return reference
        rest = found[3]
        path = _path_absolute(rest)
        below = self._below + rest if path is None else self._path(path[1]) + path[2]
        return reference[: len(reference) - len(rest)] + below

    def _path(self, path: str) -> str:
        """Return a path below the prefix; unchanged if it is there already, because the job knows the prefix."""
        if _has_dots(path) is not None:
            path = _without_dots(path)
        return path if path.startswith(self._below) or path == self._prefix else self._prefix + path

    def _cookie(self, value: str) -> str | None:
        """Return the value of a Set-Cookie field whose cookie stays below the prefix; None if there cannot be one."""
        pair, *attributes = value.split(";")
        if pair.lstrip(_BEFORE_NAME)[: len(_WHOLE_ORIGIN)].lower() == _WHOLE_ORIGIN:
            self._cookie_dropped()
            return None
        kept = [pair]
        for attribute in attributes:
            name, _, given = attribute.partition("=")
            name = name.strip(_BLANKS).lower()
            if name == "path":
                path = given.strip(_BLANKS).strip('"')
                # Without a slash at its beginning it counts as absent: the browser takes the request's path.
                kept.append(f" Path={self._cookie_path(path)}" if path.startswith("/") else attribute)
            elif name != "domain":
                kept.append(attribute)
        return ";".join(kept)

    def _cookie_path(self, path: str) -> str:
        return path if path.startswith(self._below) or path == self._prefix else self._prefix + path


def _is_own(scheme: str | None, authority: str, request: IncomingHead) -> bool:
    """Return whether a reference is to the origin of a request, as the request or a trusted proxy names it."""
    own = request.value("x-forwarded-proto")
    given = (scheme or own).lower()
    if given != own:
        return False
    hosts = request.host, request.value("x-forwarded-host")
    return _plain(authority, given) in [_plain(host, given) for host in hosts if host]


def _plain(authority: str, scheme: str) -> str:
    return authority.lower().removesuffix(_DEFAULT_PORTS.get(scheme, "")).removesuffix(":")


def _without_dots(path: str) -> str:
    """Resolve the segments "." and ".." of an absolute path (RFC 3986 5.2.4), as browsers do."""
    kept: list[str] = []
    segments = path.replace("\\", "/").split("/")[1:]
    for segment in segments:
        dots = _encoded_dot.sub(".", segment)
        if dots == "..":
            del kept[-1:]
        elif dots != ".":
            kept.append(segment)
    if _encoded_dot.sub(".", segments[-1]) in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
