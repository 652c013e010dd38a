"""Addresses of peers as text: ``host:port``, with the brackets of an IPv6 address (RFC 3986 section 3.2.2)."""

from __future__ import annotations


def authority_of(host: str, port: int) -> str:
    """Return a host, which may be a name, with its port."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def peer_text(name: object) -> str:
    """Return the address that ``getpeername`` has returned; ``unknown`` for anything that is no host and port."""
    return authority_of(str(name[0]), int(name[1])) if isinstance(name, tuple) else "unknown"
