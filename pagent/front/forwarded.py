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
from itertools import count
from typing import Final

from pagent.http1.incoming import IncomingHead
from pagent.rpc.directory import Client

_is_request_id = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_MAPPED: Final = "::ffff:"
#: Beginning of the ids that this process gives to requests.
_IDS: Final = os.urandom(8).hex()
_numbers = count()


def request_id(head: IncomingHead) -> str:
    """Return the request's id: the client's, or a new one if that is none."""
    given = head.request_id
    return given if given and _is_request_id(given) is not None else f"{_IDS}{next(_numbers):016x}"


def add_forwarded_fields(head: IncomingHead, client: Client, prefix: str) -> None:
    """Add the fields to those that go on. ``prefix``: the part of the target that the job does not get."""
    add = head.fields.append
    proto = "https" if client.secure else "http"
    if client.trusted and head.forwarded:
        _add_trusted(head, client, proto)
    else:
        add(["X-Forwarded-For", client.address])
        if head.host:  # HTTP/1.0 needs none
            add(["X-Forwarded-Host", head.host])
        add(["X-Forwarded-Proto", proto])
        add(["X-Forwarded-Port", _port_of(head.host, proto)])
        add(["X-Real-Ip", client.address])
    if prefix:
        add(["X-Forwarded-Prefix", prefix])


def _add_trusted(head: IncomingHead, client: Client, proto: str) -> None:
    given: dict[str, list[str]] = {}
    for name, value in head.forwarded:
        given.setdefault(name.lower().replace("_", "-"), []).append(value)
    add = head.fields.append
    before = [value for value in given.get("x-forwarded-for", ()) if value]
    add(["X-Forwarded-For", ", ".join([*before, client.address])])
    proto = given.get("x-forwarded-proto", [proto])[0]
    host = given.get("x-forwarded-host", [head.host])[0]
    if host:
        add(["X-Forwarded-Host", host])
    add(["X-Forwarded-Proto", proto])
    add(["X-Forwarded-Port", given.get("x-forwarded-port", [_port_of(host, proto)])[0]])
    nearest = before[-1].rpartition(",")[2].strip() if before else client.address
    add(["X-Real-Ip", given.get("x-real-ip", [nearest])[0]])
    if "forwarded" in given:
        add(["Forwarded", ", ".join([*given["forwarded"], _element(head.host, client, proto)])])


def _port_of(host: str, proto: str) -> str:
    """The port that the client used: that of the Host field, or the scheme's."""
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
