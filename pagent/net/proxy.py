"""HTTP proxies that links are dialled through: the CONNECT request, and which proxy the environment names.

docs/contract.rst, "Dialling". No error and no repr has the password.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from pagent.errors import ConfigError, DialError
from pagent.limits import UPGRADE_ANSWER_MAX
from pagent.net.authority import ascii_host, authority_of

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [\t -~\x80-\xff]*)?")
_START: Final = b"HTTP/1."
#: Of a proxy that asks for a user and a password (RFC 9110 section 15.5.8).
_PROXY_AUTHENTICATION: Final = 407


class Proxy(NamedTuple):
    """An HTTP proxy. ``authorization``: the value of Proxy-Authorization, empty for none."""

    host: str
    port: int
    authorization: str = ""

    @property
    def authority(self) -> str:
        return authority_of(self.host, self.port)

    def __repr__(self) -> str:
        return f"Proxy({self.authority})"


def parse_proxy(text: str) -> Proxy:
    """Parse ``http://[user:password@]host:port``. ConfigError, which quotes nothing: there may be a password in it."""
    wanted = "must be http://host:port or http://user:password@host:port"
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        host, port = ascii_host(url), url.port
    except ValueError:  # UnicodeError is one
        raise ConfigError(wanted) from None
    if url.scheme != "http" or not host or port == 0 or url.path not in ("", "/") or url.query or url.fragment:
        raise ConfigError(wanted)
    return Proxy(host, port or 80, _basic(url.username, url.password))


def _basic(user: str | None, password: str | None) -> str:
    """Return the value of Proxy-Authorization (RFC 7617); percent-encoded parts are decoded."""
    if user is None:
        return ""
    secret = unquote_to_bytes(user) + b":" + unquote_to_bytes(password or "")
    return "Basic " + base64.b64encode(secret).decode()


# --- the environment --------------------------------------------------------------------------------


def environment_proxy(environ: Mapping[str, str], host: str, port: int) -> Proxy | None:
    """Return the proxy that HTTPS_PROXY names for a ``wss://`` address, None for none. ConfigError.

    None for a name or an address of the loopback, and for hosts that NO_PROXY lists.
    """
    text = environ.get("https_proxy") or environ.get("HTTPS_PROXY")
    if not text or _is_loopback(host) or _is_excluded(environ, host, port):
        return None
    try:
        return parse_proxy(text)
    except ConfigError as error:
        raise ConfigError(f"HTTPS_PROXY: {error}") from None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _is_excluded(environ: Mapping[str, str], host: str, port: int) -> bool:
    text = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return any(_matches(entry.strip().lower(), host.lower(), port) for entry in text.split(","))


def _matches(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of NO_PROXY is for a host: ``*``, a domain, an address, a network, with a port or not."""
    if entry == "*":
        return True
    if (address := _address(host)) is not None:
        try:
            return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            pass
    name, colon, number = entry.rpartition(":")
    if colon and number.isdecimal():
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").removeprefix(".")
    return bool(entry) and (host == entry or (address is None and host.endswith(f".{entry}")))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


# --- CONNECT ----------------------------------------------------------------------------------------


class ConnectRequest:
    """The CONNECT request to a proxy and its answer, without I/O (RFC 9110 section 9.3.6)."""

    def __init__(self, proxy: Proxy, authority: str) -> None:
        self._proxy = proxy
        self._authority = authority
        self._buffer = bytearray()

    def request(self) -> bytes:
        """Return the bytes to send."""
        authorization = self._proxy.authorization
        field = f"Proxy-Authorization: {authorization}\r\n" if authorization else ""
        return f"CONNECT {self._authority} HTTP/1.1\r\nHost: {self._authority}\r\n{field}\r\n".encode("ascii")

    def feed(self, data: bytes) -> bool:
        """Take bytes of the proxy; return whether the tunnel is open. DialError: the proxy refuses, or is none."""
        buffer = self._buffer
        buffer += data
        if not _START.startswith(buffer[: len(_START)]):
            raise self.error("does not answer in HTTP")
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > UPGRADE_ANSWER_MAX:
                raise self.error(f"answers with a head of more than {UPGRADE_ANSWER_MAX} bytes")
            return False
        status = _STATUS_LINE.fullmatch(buffer[: buffer.index(b"\r\n")])
        if status is None:
            raise self.error("does not answer in HTTP")
        self._check(int(status[1]))
        if len(buffer) > end + 4:  # the peer speaks only after we have
            raise self.error("sent data before the tunnel was in use")
        return True

    def _check(self, status: int) -> None:
        if 200 <= status < 300:
            return
        if status == _PROXY_AUTHENTICATION:
            given = bool(self._proxy.authorization)
            raise self.error(f"{'does not accept the' if given else 'asks for a'} user and password (407)")
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
        raise self.error(f"refuses the connection: {f'{status} {phrase}'.rstrip()}")

    def error(self, text: str) -> DialError:
        """Return an error that names the proxy and the peer."""
        return DialError(f"{self._authority}: the proxy {self._proxy.authority} {text}")
