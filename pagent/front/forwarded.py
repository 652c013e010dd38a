"""The fields that tell a job where a request came from (docs/router.rst, "Forwarded fields").

Fields of a client are believed only if the peer of its socket is a trusted proxy. The parser of heads has removed these
fields, in every spelling, so a job gets only those that are made here.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from pagent.http1.incoming import IncomingHead
from pagent.http1.lines import lines_of
from pagent.rpc.directory import Client

_is_request_id = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_MAPPED: Final = "::ffff:"
#: Beginning of the ids that this process gives to requests.
_IDS: Final = os.urandom(8).hex()


def request_id(head: IncomingHead) -> str:
    """Return the request's id: the client's, or a new one if that is none."""
    given = head.request_id
    return given if given and _is_request_id(given) is not None else _IDS + str(_NUMBERS.next())


class _Numbers:
    """Numbers of requests, of sixteen digits. Compiled, a quarter of the instructions of itertools.count."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 10**15

    def next(self) -> int:
        self._last += 1
        return self._last


_NUMBERS: Final = _Numbers()


def add_forwarded_fields(head: IncomingHead, client: Client, prefix: str, request_id: str) -> None:
    """Add the fields, and X-Request-Id, to those that are sent to the job.

    :param prefix: the part of the target that the job does not get.
    """
    proto = "https" if client.secure else "http"
    own = f"X-Request-Id: {request_id}\r\n"
    if prefix:
        own = f"X-Forwarded-Prefix: {prefix}\r\n{own}"
    if client.trusted and head.forwarded:
        head.add_lines(lines_of(_trusted(head, client, proto)) + own.encode("utf-8", "surrogateescape"))
        return
    address, host = client.address, head.host
    named = f"X-Forwarded-Host: {host}\r\n" if host else ""  # HTTP/1.0 needs none
    head.add_lines(
        f"X-Forwarded-For: {address}\r\n{named}X-Forwarded-Proto: {proto}\r\n"
        f"X-Forwarded-Port: {_port_of(host, proto)}\r\nX-Real-Ip: {address}\r\n{own}".encode("utf-8", "surrogateescape")
    )


def _trusted(head: IncomingHead, client: Client, proto: str) -> list[tuple[str, str]]:
    """Return the fields of a request that a trusted proxy has sent."""
    given: dict[str, list[str]] = {}
    for name, value in head.forwarded:
        given.setdefault(name.lower().replace("_", "-"), []).append(value)
    before = [value for value in given.get("x-forwarded-for", ()) if value]
    proto = given.get("x-forwarded-proto", [proto])[0]
    host = given.get("x-forwarded-host", [head.host])[0]
    nearest = before[-1].rpartition(",")[2].strip() if before else client.address
    fields = [
        ("X-Forwarded-For", ", ".join([*before, client.address])),
        ("X-Forwarded-Proto", proto),
        ("X-Forwarded-Port", given.get("x-forwarded-port", [_port_of(host, proto)])[0]),
        ("X-Real-Ip", given.get("x-real-ip", [nearest])[0]),
    ]
    if host:
        fields.append(("X-Forwarded-Host", host))
    if "forwarded" in given:
        fields.append(("Forwarded", ", ".join([*given["forwarded"], _element(head.host, client, proto)])))
    return fields


def _port_of(host: str, proto: str) -> str:
    """Return the port that the client used: that of the Host field, or the scheme's."""
    port = host.rpartition(":")[2] if ":" in host else ""
    return port if port.isdigit() else _DEFAULT_PORTS.get(proto, "")


def _element(host: str, client: Client, proto: str) -> str:
    """One element of a Forwarded field (RFC 7239 section 4)."""
    node = f'"[{client.address}]"' if ":" in client.address else client.address
    return f'for={node};host="{host}";proto={proto}' if host else f"for={node};proto={proto}"


def plain_address(address: str) -> str:
    """Return an IP address; one of IPv4 that came to a socket of IPv6 as itself."""
    return address.removeprefix(_MAPPED) if "." in address else address


class TrustedProxies:
    """The addresses and networks of ``control.trusted_proxies``; ValueError if one is neither."""

    def __init__(self, names: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(name, strict=False) for name in names]
        self._holds = lru_cache(maxsize=1024)(self._look_up)

    def holds(self, address: str) -> bool:
        """Return whether the peer at this IP address is trusted."""
        return bool(self._networks) and self._holds(address)

    def _look_up(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(found in network for network in self._networks)
