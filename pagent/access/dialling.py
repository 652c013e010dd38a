"""Check the addresses that callers may have the router dial (``dial.allow``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

from pagent.access.hosts import authority
from pagent.errors import ConfigError, DialError, RequestRefusedError
from pagent.net.authority import authority_of
from pagent.net.resolving import resolve
from pagent.runtime.descriptors import descriptor_shortage

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


#: The addresses that callers may have a closed router dial, if the configuration has no list.
LOOPBACK: Final = ("127.0.0.0/8", "::1/128")


class DialRules:
    """``allow``: hosts, ``host:port`` pairs and networks; None allows everything. ConfigError for what is none."""

    def __init__(self, allow: Sequence[str] | None) -> None:
        self._everything = allow is None
        self._networks: list[_Network] = []
        self._hosts: set[tuple[str, int | None]] = set()
        for text in allow or ():
            self._add(text)

    def _add(self, text: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            host, port = authority(text)
            if not host or "/" in text:
                raise ConfigError(f"dial.allow: {text!r} is no host, host:port or network") from None
            self._hosts.add((host, port))

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host that may be dialled; they are the ones to dial.

        RequestRefusedError if none may be; DialError if the name has no address.
        """
        try:
            addresses = await resolve(host, port)
        except OSError as error:
            raise DialError(f"{host}: {error.strerror or error}") from (descriptor_shortage() or error)
        if self._everything or not self._hosts.isdisjoint({(host.lower(), None), (host.lower(), port)}):
            return addresses
        allowed = [address for address in addresses if self._is_in_a_network(address)]
        if not allowed:
            place = authority_of(host, port)
            raise RequestRefusedError(403, f"{place} may not be dialled: dial.allow does not list it")
        return allowed

    def _is_in_a_network(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        return any(address in network for network in self._networks)
