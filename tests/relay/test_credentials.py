from __future__ import annotations

from pathlib import Path

import pytest

from pagent.config.model import ServerTls
from pagent.config.router import (
    AcceptedToken,
    Access,
    DialledAgent,
    DialSettings,
    RouterApps,
    RouterControl,
    RouterServer,
    RouterSettings,
)
from pagent.config.token_file import add_token
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


# --- tokens of clients ------------------------------------------------------------------------------


def closed_by(file: Path) -> RouterSettings:
    return RouterSettings(access=Access(tokens_file=file))


def test_a_file_of_tokens_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    add_token(file, {"name": "a", "sha256": "a" * 64, "scopes": ["read"]})
    before = load_credentials(closed_by(file))
    assert before.access is not None
    text = file.read_text()
    for bad, words in (
        (text + text, "another token has the name 'a'"),
        (text.replace("read", "all"), r"\[0\]\.scopes\[0\]: a scope is one of"),
        ("- {", "line 1"),
    ):
        file.write_text(bad)
        with pytest.raises(ConfigError, match=rf"^access\.tokens_file: .*{words}"):
            before.renewed(closed_by(file))
    file.unlink()
    with pytest.raises(ConfigError, match=r"^access\.tokens_file: .*No such file"):
        before.renewed(closed_by(file))
    file.mkdir()
    with pytest.raises(ConfigError, match=r"^access\.tokens_file: .*Is a directory"):
        load_credentials(closed_by(file))


def test_a_router_is_closed_by_a_restart_only_and_never_opened(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("")
    opened, closed = load_credentials(RouterSettings()), load_credentials(closed_by(file))
    assert opened.access is None
    with pytest.raises(ConfigError, match="closed by a restart only"):
        opened.renewed(closed_by(file))
    renewed = closed.renewed(RouterSettings())
    assert renewed.access is not None
    assert len(renewed.access) == 0
