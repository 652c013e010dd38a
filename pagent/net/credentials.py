"""Tokens, keys and certificates, which may be replaced while the process runs."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import NamedTuple

from pagent.config.model import Settings
from pagent.config.tokens import Tokens, load_tokens
from pagent.net.tls import client_context, server_context


class Credentials(NamedTuple):
    tokens: Tokens
    server_tls: ssl.SSLContext | None
    client_tls: ssl.SSLContext | None


def load_credentials(settings: Settings, environ: Mapping[str, str], *, dials_tls: bool) -> Credentials:
    """Read all files that the configuration names. ConfigError, which names the key, if one cannot be used.

    ``dials_tls``: whether a router is dialled by TLS; otherwise ``client.tls`` is not read.
    """
    return Credentials(
        load_tokens(settings, environ),
        server_context(settings.server.tls),
        client_context(settings.client.tls) if dials_tls else None,
    )
