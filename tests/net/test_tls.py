"""The files of TLS, and the texts of their faults: each names its key."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from pagent.config.model import ClientTls, ServerTls
from pagent.errors import ConfigError
from pagent.net.tls import (
    accepting_fault,
    client_context,
    dialling_fault,
    job_context,
    renew_certificate,
    server_context,
)
from tests.kit.peer import PATIENCE_S

Files = tuple[Path, Path]


def test_without_a_certificate_there_is_no_tls() -> None:
    assert server_context(ServerTls()) is None


@pytest.mark.parametrize("tls", [ServerTls(key=Path("k")), ServerTls(ca=Path("c"))])
def test_a_key_or_an_authority_needs_a_certificate(tls: ServerTls) -> None:
    """Otherwise the port would be without TLS, and no certificate would be required of a peer."""
    with pytest.raises(ConfigError, match=r"^a\.tls: a key or ca is set, which needs a\.tls\.certificate as well$"):
        server_context(tls, "a.tls")
    with pytest.raises(ConfigError, match=r"client\.tls: a key is set, which needs client\.tls\.certificate as well"):
        client_context(ClientTls(key=Path("k")))


def test_peers_present_a_certificate_where_an_authority_is_set(certificate: Files) -> None:
    plain = server_context(ServerTls(*certificate))
    strict = server_context(ServerTls(*certificate, ca=certificate[0]))
    assert plain is not None
    assert strict is not None
    assert (plain.verify_mode, strict.verify_mode) == (ssl.CERT_NONE, ssl.CERT_REQUIRED)
    assert client_context(ClientTls(ca=certificate[0])).verify_mode is ssl.CERT_REQUIRED
    assert client_context(ClientTls()).check_hostname
    assert job_context().verify_mode is ssl.CERT_NONE


def test_a_file_that_is_missing_is_named_with_its_key(certificate: Files, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(ConfigError, match=rf"^b\.certificate: {missing}: No such file or directory$"):
        server_context(ServerTls(missing), "b")
    with pytest.raises(ConfigError, match=rf"^b\.ca: {missing}: No such file or directory$"):
        server_context(ServerTls(*certificate, ca=missing), "b")
    with pytest.raises(ConfigError, match=rf"^client\.tls\.ca: {missing}: No such file or directory$"):
        client_context(ClientTls(ca=missing))
    with pytest.raises(ConfigError, match=rf"^client\.tls\.certificate: {missing}: No such file or directory$"):
        client_context(ClientTls(certificate=missing))


def test_a_file_that_is_no_certificate(certificate: Files, tmp_path: Path) -> None:
    noise = tmp_path / "noise.pem"
    noise.write_text("no PEM")
    wanted = "must be a certificate and its key, as PEM without a passphrase"
    for tls in (ServerTls(noise), ServerTls(certificate[0], noise), ServerTls(certificate[0])):
        with pytest.raises(ConfigError, match=wanted):
            server_context(tls)
    with pytest.raises(ConfigError, match=rf"^server\.tls\.ca: {noise}: "):
        server_context(ServerTls(*certificate, ca=noise))


def test_a_key_with_a_passphrase_is_refused_without_a_question(certificate: Files, tmp_path: Path) -> None:
    """OpenSSL would ask for it at the terminal."""
    locked = tmp_path / "locked.pem"
    command = ["openssl", "ec", "-in", certificate[1], "-aes128", "-passout", "pass:word", "-out", locked]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
    with pytest.raises(ConfigError, match="without a passphrase"):
        server_context(ServerTls(certificate[0], locked))


def test_a_certificate_that_cannot_be_renewed_leaves_the_one_in_use(certificate: Files) -> None:
    tls = ServerTls(*certificate)
    context = server_context(tls)
    assert context is not None
    kept = certificate[0].read_text()
    certificate[0].write_text("half of a file")
    with pytest.raises(ConfigError, match=r"server\.tls\.certificate"):
        renew_certificate(context, tls, "server.tls")
    assert handshake(context) == ssl.PEM_cert_to_DER_cert(kept)


def handshake(context: ssl.SSLContext) -> bytes | None:
    """Return the certificate that a client gets, in memory."""
    trusting = job_context()
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.getpeercert(binary_form=True)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "the connection was lost in the handshake: Connection"),
        (TimeoutError(), "the connection was lost in the handshake"),
        (TimeoutError("too slow"), "the connection was lost in the handshake: too slow"),
    ],
)
def test_a_handshake_that_fails_has_a_text(error: OSError, words: str) -> None:
    assert accepting_fault(error).startswith(words)


@pytest.mark.parametrize("reason", ["A_FAULT_WITHOUT_A_TEXT", ""])
def test_a_fault_of_openssl_without_a_text_of_ours_has_its_own(reason: str) -> None:
    error = ssl.SSLError(1, "what OpenSSL says")
    error.reason = reason
    assert accepting_fault(error) == f"TLS handshake failed: {reason or error}"


@pytest.mark.parametrize("error", [ConnectionResetError(), ConnectionAbortedError(53, "x")])
def test_a_peer_that_closes_a_dialled_connection_may_expect_no_tls(error: OSError) -> None:
    assert "does the peer expect TLS? (ws:// is without)" in dialling_fault(error)


def test_a_certificate_that_is_not_trusted_is_said_to_be_so() -> None:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_message = "self-signed certificate"
    assert (
        dialling_fault(error) == "TLS handshake failed: the peer's certificate is not trusted: self-signed certificate"
    )


def test_a_fault_that_openssl_has_not_raised_has_its_text() -> None:
    """Such an error has neither a reason nor a verify_message."""
    assert accepting_fault(ssl.SSLError(1, "a text")) == "TLS handshake failed: a text"
    assert dialling_fault(ssl.SSLCertVerificationError(1, "a text")).endswith("certificate is not trusted: a text")
