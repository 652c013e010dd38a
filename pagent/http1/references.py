"""References to the job's own address in a response, which are of no use outside this host.

A job redirects to ``http://localhost:43017/login`` because it listens there, but its user's browser is on another host.
Only the agent knows the port, so the agent makes ``/login`` of such a reference (docs/contract.rst, "Proxy").
"""

from __future__ import annotations

import re
from typing import Final

#: ``scheme://authority`` or ``//authority``, then path, query and fragment.
_split = re.compile(r"(?:(https?):)?//([^/?#\\]*)([^\t]*)", re.IGNORECASE | re.DOTALL).fullmatch
_authority = re.compile(r"(\[[0-9a-f:.]+\]|[^:@\[\]]*)(?::([0-9]{0,5}))?", re.IGNORECASE).fullmatch
#: The beginning of a Refresh field: seconds, then the reference (HTML, "shared declarative refresh steps").
_refresh = re.compile(r"[0-9.]+(?:[ \t]*[;,]|[ \t])[ \t]*(?:url[ \t]*=[ \t]*)?([\"']?)", re.IGNORECASE).match
#: ``0.0.0.0`` and ``::`` stand for all addresses of the host; programs that listen there print and send them.
_is_loopback = re.compile(
    r"(?:[^.]+\.)*localhost\.?|127(?:\.[0-9]{1,3}){3}|0\.0\.0\.0|\[::1?\]", re.IGNORECASE
).fullmatch

_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


def local_reference(field: str, value: str, *, port: int, scheme: str, host: str) -> str:
    """Return the value of a Location, Content-Location or Refresh field, path-absolute if it names the job itself.

    :param port: the job's port.
    :param scheme: the scheme of that port.
    :param host: the request's Host.
    """
    if field.lower() != "refresh":
        return _local(value, port, scheme, host)
    start, end = refresh_reference(value)
    return value[:start] + _local(value[start:end], port, scheme, host) + value[end:]


def refresh_reference(value: str) -> tuple[int, int]:
    """Return where the reference of a Refresh field begins and ends; an empty part if it has none."""
    start = _refresh(value)
    if start is None:
        return len(value), len(value)
    end = value.find(start[1], start.end()) if start[1] else -1
    return start.end(), end if end >= 0 else len(value)


def _local(url: str, port: int, scheme: str, host: str) -> str:
    parts = _split(url)
    if parts is None or not _names_job(parts[1], parts[2], port, scheme, host):
        return url
    rest: str = parts[3]
    if not rest.startswith("/"):
        rest = "/" + rest
    # Two slashes would begin the name of another host (RFC 3986 4.2). Browsers take a backslash for a slash.
    return "/." + rest if rest[1:2] in ("/", "\\") else rest


def _names_job(given_scheme: str | None, authority: str, port: int, scheme: str, host: str) -> bool:
    given_scheme = given_scheme.lower() if given_scheme is not None else scheme
    found = _authority(authority)
    if found is None or (found[2] or _DEFAULT_PORTS[given_scheme]) != str(port):
        return False
    asked = _authority(host)
    name = found[1].lower()
    return _is_loopback(name) is not None or (asked is not None and name != "" and name == asked[1].lower())
