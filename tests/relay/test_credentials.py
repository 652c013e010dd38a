from __future__ import annotations

from pathlib import Path

import pytest

from pagent.config.model import ServerTls
from pagent.config.router import (
    AcceptedToken,
    DialledAgent,
    DialSettings,
    RouterApps,
    RouterControl,
    RouterServer,
    RouterSettings,
)
from pagent.errors import ConfigError, ProtocolError
from pagent.net.dial import Address
from pagent.relay.credentials import load_credentials
from pagent.wire import identity


def peer(token: str, uid: str | bytes = "A") -> identity.Peer:
    return identity.read_peer({"auth": {"uid": uid, "name": "an agent", "token": token}})


def accepting(*tokens: AcceptedToken) -> RouterSettings:
    return RouterSettings(server=RouterServer(accept_tokens=tokens))


def test_a_token_is_found() -> None:
    credentials = load_credentials(accepting(AcceptedToken("a"), AcceptedToken("b")))
    assert [credentials.token_of(peer(token)) for token in "ab"] == ["a", "b"]
    assert credentials.tokens == {"a", "b"}


@pytest.mark.parametrize("token", ["", "c", "a "])
def test_an_unknown_token_is_refused(token: str) -> None:
    with pytest.raises(ProtocolError, match="not accepted") as caught:
        load_credentials(accepting(AcceptedToken("a"))).token_of(peer(token))
    assert caught.value.code == 1008


def test_a_token_for_some_uids() -> None:
    credentials = load_credentials(accepting(AcceptedToken("a", "node-*"), AcceptedToken("a", "ff*")))
    assert credentials.token_of(peer("a", "node-1"))
    assert credentials.token_of(peer("a", b"\xff"))  # a uid of bytes is known by its hex form
    with pytest.raises(ProtocolError, match="not for an agent with this uid"):
        credentials.token_of(peer("a", "NODE-1"))


def test_tokens_of_agents_to_dial(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    agents = (DialledAgent("a:1", file), DialledAgent("b:2"))
    settings = RouterSettings(dial=DialSettings(agents=agents))
    credentials = load_credentials(settings)
    assert credentials.dialled == {Address("a", 1): "first", Address("b", 2): ""}
    file.write_text("second\n")
    assert credentials.renewed(settings).dialled[Address("a", 1)] == "second"
    file.unlink()
    with pytest.raises(ConfigError, match=r"^dial\.agents\[0\]: .*No such file"):
        credentials.renewed(settings)


@pytest.mark.parametrize("section", ["server", "control", "apps"])
def test_tls_is_not_turned_on_by_reading_again(section: str, certificate: tuple[Path, Path]) -> None:
    tls = ServerTls(certificate=certificate[0], key=certificate[1])
    with_tls = {
        "server": RouterSettings(server=RouterServer(tls=tls)),
        "control": RouterSettings(control=RouterControl(tls=tls)),
        "apps": RouterSettings(apps=RouterApps(tls=tls)),
    }
    for before, now in ((RouterSettings(), with_tls[section]), (with_tls[section], RouterSettings())):
        with pytest.raises(ConfigError, match=rf"^{section}\.tls\.certificate: TLS is turned on or off"):
            load_credentials(before).renewed(now)


def test_no_secret_is_printed() -> None:
    assert "secret" not in repr(accepting(AcceptedToken("secret")))
