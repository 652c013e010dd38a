"""TLS of links: the configured files as contexts. What cannot be used is a ConfigError that names the key."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pagent.config.model import ClientTls, ServerTls
from pagent.errors import ConfigError


def server_context(tls: ServerTls) -> ssl.SSLContext | None:
    """For the RPC server; None without a certificate. With ``ca``, routers have to show a certificate of it."""
    if tls.certificate is None:
        if tls.key is not None or tls.ca is not None:
            # Without TLS after all, nobody's certificate would be asked for.
            raise ConfigError("server.tls: a key or ca is set, which needs server.tls.certificate as well")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load_certificate(context, "server.tls", tls.certificate, tls.key)
    if tls.ca is not None:
        with _naming(f"server.tls.ca: {tls.ca}"):
            context.load_verify_locations(tls.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """For dialling a ``wss://`` router."""
    if tls.certificate is None and tls.key is not None:
        raise ConfigError("client.tls: a key is set, which needs client.tls.certificate as well")
    with _naming(f"client.tls.ca: {tls.ca}"):
        context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
    if tls.certificate is not None:
        _load_certificate(context, "client.tls", tls.certificate, tls.key)
    return context


def _load_certificate(context: ssl.SSLContext, section: str, certificate: Path, key: Path | None) -> None:
    what = f"{section}.certificate: {certificate}" + (f" with the key {key}" if key else "")
    with _naming(what):
        try:
            context.load_cert_chain(certificate, key, password=_no_passphrase)
        except ssl.SSLError as error:
            wanted = "a certificate and its key, as PEM without a passphrase"
            raise ConfigError(f"{what}: must be {wanted} ({error.reason or error})") from None


def _no_passphrase() -> str:
    """Nobody is there to type one; left to itself, OpenSSL would ask the terminal."""
    return ""


@contextmanager
def _naming(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{what}: {error.strerror or error}") from None
