"""Hosts of URLs, and addresses of peers as text: ``host:port``, IPv6 in brackets (RFC 3986 section 3.2.2)."""

from __future__ import annotations

from urllib.parse import SplitResult


def ascii_host(url: SplitResult) -> str:
    """Return the host of a URL as name servers know it (IDNA, RFC 5891); empty without one. UnicodeError."""
    return (url.hostname or "").encode("idna").decode()


def authority_of(host: str, port: int) -> str:
    """Return a host, which may be a name, with its port."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def peer_text(name: object) -> str:
    """Return the address that ``getpeername`` has returned; ``unknown`` for anything that is no host and port."""
    return authority_of(str(name[0]), int(name[1])) if isinstance(name, tuple) else "unknown"
