"""What agents of pools present: for one uid, one process and a limited time."""

from __future__ import annotations

from typing import Any

from pagent.access.signed import SigningKeys
from pagent.relay.pools.tokens import CREDENTIAL_S, Joined, JoinTokens
from pagent.wire import identity

KEYS = SigningKeys([b"one"])


def peer(token: str, uid: str = "u", instance: str | None = "i") -> identity.Peer:
    data: dict[str, Any] = {"auth": {"uid": uid, "name": "n", "token": token}}
    return identity.read_peer(data if instance is None else {**data, "instance": instance})


def test_a_join_token_is_for_one_uid_and_a_limited_time() -> None:
    now = [100.0]
    tokens = JoinTokens(KEYS, lambda: now[0])
    token = tokens.token("p", "r", "u", 10.0)
    assert tokens.joined(peer(token)) == Joined("p", "r", "u", None, 110.0)
    assert tokens.joined(peer(token, instance="other")) is not None
    assert tokens.joined(peer(token, "other")) is None
    assert tokens.joined(peer(token, instance=None)) is None
    assert tokens.joined(peer(token + "x")) is None
    assert JoinTokens(SigningKeys([b"two"]), lambda: now[0]).joined(peer(token)) is None
    now[0] = 110.0
    assert tokens.joined(peer(token)) is None


def test_a_credential_is_for_one_process() -> None:
    now = [100.0]
    tokens = JoinTokens(KEYS, lambda: now[0])
    joined = tokens.joined(peer(tokens.token("p", "r", "u", 10.0)))
    assert joined is not None
    credential = tokens.credential(joined, "i")
    now[0] = 100.0 + CREDENTIAL_S - 1
    assert tokens.joined(peer(credential)) == Joined("p", "r", "u", "i", 100.0 + CREDENTIAL_S)
    assert tokens.joined(peer(credential, instance="other")) is None
    now[0] += 1
    assert tokens.joined(peer(credential)) is None
