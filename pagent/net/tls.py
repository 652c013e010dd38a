"""TLS of links: contexts of the configured files. A file that cannot be used is a ConfigError that names its key.

TLS to jobs has no configuration.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pagent.config.model import ClientTls, ServerTls
from pagent.errors import ConfigError


def server_context(tls: ServerTls, section: str = "server.tls") -> ssl.SSLContext | None:
    """Return the context of a listener, configured in ``section``; None without a certificate.

    With ``ca``, peers have to present a certificate of one of its authorities.
    """
    if tls.certificate is None:
        if tls.key is not None or tls.ca is not None:
            # Without TLS no certificate would be required of a peer.
            raise ConfigError(f"{section}: a key or ca is set, which needs {section}.certificate as well")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load_certificate(context, section, tls.certificate, tls.key)
    if tls.ca is not None:
        with _naming(f"{section}.ca: {tls.ca}"):
            context.load_verify_locations(tls.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def renew_certificate(context: ssl.SSLContext, tls: ServerTls, section: str) -> None:
    """Give a context, which a listener uses already, the certificate that its files hold now.

    The next connections get it. ConfigError as :func:`server_context`.
    """
    assert tls.certificate is not None
    _load_certificate(context, section, tls.certificate, tls.key)


def client_context(tls: ClientTls) -> ssl.SSLContext:
    """Return the context for dialling a ``wss://`` router."""
    if tls.certificate is None and tls.key is not None:
        raise ConfigError("client.tls: a key is set, which needs client.tls.certificate as well")
    with _naming(f"client.tls.ca: {tls.ca}"):
        context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
    if tls.certificate is not None:
        _load_certificate(context, "client.tls", tls.certificate, tls.key)
    return context


def job_context() -> ssl.SSLContext:
    """Return the context for a job's port on the loopback, with any certificate (docs/contract.rst, "Proxy")."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _load_certificate(context: ssl.SSLContext, section: str, certificate: Path, key: Path | None) -> None:
    what = f"{section}.certificate: {certificate}" + (f" with the key {key}" if key else "")
    with _naming(what):
        try:
            context.load_cert_chain(certificate, key, password=_no_passphrase)
        except ssl.SSLError as error:
            wanted = "a certificate and its key, as PEM without a passphrase"
            raise ConfigError(f"{what}: must be {wanted} ({_reason(error)})") from None


def _no_passphrase() -> str:
    """Return no passphrase. Otherwise OpenSSL would ask for one at the terminal."""
    return ""


@contextmanager
def _naming(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{what}: {error.strerror or error}") from None


# --- the texts of failed handshakes -----------------------------------------------------------------

#: Texts by OpenSSL's name of the fault, or a part of it, for the side that accepts.
_ACCEPTING: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer sent no certificate, which server.tls.ca requires",
    "CERTIFICATE_VERIFY_FAILED": "the peer's certificate is not of an authority of server.tls.ca",
    "HTTP_REQUEST": "the peer does not speak TLS, which this port expects (wss://, https://)",
    "WRONG_VERSION_NUMBER": "the peer does not speak TLS, which this port expects (wss://, https://)",
    "ALERT_UNKNOWN_CA": "the peer does not trust the certificate of server.tls.certificate",
    "ALERT_CERTIFICATE_UNKNOWN": "the peer does not trust the certificate of server.tls.certificate",
    "ALERT_BAD_CERTIFICATE": "the peer does not trust the certificate of server.tls.certificate",
}
#: The same for the side that dials.
_DIALLING: Final = {
    "CERTIFICATE_REQUIRED": "the peer asks for a certificate: set client.tls.certificate",
    "ALERT_HANDSHAKE_FAILURE": "the peer refused the TLS handshake; does it ask for a certificate"
    " (client.tls.certificate)?",
    "ALERT_UNKNOWN_CA": "the peer does not trust the certificate of client.tls.certificate",
    "ALERT_BAD_CERTIFICATE": "the peer does not accept the certificate of client.tls.certificate",
    "ALERT_CERTIFICATE": "the peer does not accept the certificate of client.tls.certificate",
    "WRONG_VERSION_NUMBER": "the peer did not answer in TLS; does the peer expect TLS? (ws:// is without)",
    "RECORD_LAYER_FAILURE": "the peer did not answer in TLS; does the peer expect TLS? (ws:// is without)",
    "UNEXPECTED_EOF": "the peer closed the connection; does the peer expect TLS? (ws:// is without) Or a certificate?"
    " (client.tls.certificate)",
}


def accepting_fault(error: OSError) -> str:
    """Return why the handshake of an accepted connection failed."""
    return _fault(error, _ACCEPTING)


def dialling_fault(error: OSError) -> str:
    """Return why TLS with a dialled peer failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = getattr(error, "verify_message", None) or error
        return f"TLS handshake failed: the peer's certificate is not trusted: {reason}"
    if isinstance(error, (ConnectionResetError, ConnectionAbortedError)):
        return f"TLS handshake failed: {_DIALLING['UNEXPECTED_EOF']}"
    return _fault(error, _DIALLING)


def _fault(error: OSError, known: dict[str, str]) -> str:
    if isinstance(error, ssl.SSLError):
        reason = _reason(error)
        for name, text in known.items():
            if name in reason:
                return f"TLS handshake failed: {text}"
        return f"TLS handshake failed: {reason}"
    words = error.strerror or str(error)
    return "the connection was lost in the handshake" + (f": {words}" if words else "")


def _reason(error: ssl.SSLError) -> str:
    """Return OpenSSL's name of a fault, or its text. Only errors that the module ssl itself raises have a name."""
    return getattr(error, "reason", None) or str(error)
