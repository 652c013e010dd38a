"""The handshake of a link, without the link: our message, and the check of the peer's.

docs/protocol.rst, "Handshake", has the rules. The dialling side speaks first.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pagent.errors import ProtocolError
from pagent.wire import identity, messages


class Greeted(NamedTuple):
    """A handshake that has succeeded. ``reply``: the user data to answer with, from the accepting side only."""

    uid: str
    peer: identity.Peer
    realm: object
    extensions: frozenset[str]
    reply: dict[str, Any] | None


class Handshake:
    """Our side of one handshake.

    :param user_data: ours (:func:`pagent.wire.identity.user_data`).
    :param extensions: the extensions that we know. A peer that names none gets no byte of them.
    :param instance: of our process; None to send none. The accepting side sends it to peers of pAgent only.
    :param replaces: the id of the link that this one is made for, if the peer is dialled again.
    :param authorise: checks a peer before it is accepted; returns its *realm*, which decides which jobs it sees.
        ProtocolError refuses it.
    :param welcome: returns further user data for a peer that was accepted.
    """

    def __init__(
        self,
        *,
        dialled: bool,
        user_data: Mapping[str, Any],
        extensions: tuple[str, ...],
        instance: str | None,
        replaces: str | None,
        authorise: Callable[[identity.Peer], object],
        welcome: Callable[[identity.Peer], Mapping[str, Any]] = lambda peer: {},
    ) -> None:
        self._dialled = dialled
        self._user_data = dict(user_data)
        self._extensions = extensions
        self._instance = instance
        self._replaces = replaces
        self._authorise = authorise
        self._welcome = welcome

    def hello(self) -> dict[str, Any]:
        """Return the user data that the dialling side begins with."""
        data = {**self._user_data, "extensions": list(self._extensions)}
        if self._instance is not None:
            data[identity.INSTANCE] = self._instance
        if self._replaces is not None:
            data[identity.REPLACES] = self._replaces
        return data

    def check(self, kind: int, body: Any) -> Greeted:
        """Check the first message of the peer. ProtocolError refuses it."""
        if kind != (messages.HANDSHAKE_REPLY if self._dialled else messages.HANDSHAKE):
            raise ProtocolError("a message before the handshake")
        hello: messages.Hello = body
        if hello.version != messages.VERSION:
            raise ProtocolError(f"handshake refused: protocol version {hello.version!r:.20}")
        if hello.status != messages.SUCCESS:
            raise ProtocolError("the peer answered the handshake with an error")
        peer = identity.read_peer(hello.user_data)
        realm = self._authorise(peer)
        shared = peer.extensions.intersection(self._extensions)
        uid = self._link_id(hello)
        return Greeted(
            uid,
            peer._replace(token="", credential=None),
            realm,
            shared,
            None if self._dialled else self._reply(peer, shared),
        )

    def _link_id(self, hello: messages.Hello) -> str:
        if not self._dialled:
            return uuid.uuid4().hex
        if type(hello.connection_id) is not str or not hello.connection_id:
            raise ProtocolError("the peer's handshake has no connection id")
        return hello.connection_id

    def _reply(self, peer: identity.Peer, shared: frozenset[str]) -> dict[str, Any]:
        data = {**self._user_data, **self._welcome(peer)}
        names_extensions = "extensions" in peer.data
        if names_extensions:
            data["extensions"] = sorted(shared)
        if self._instance is not None and (names_extensions or peer.instance is not None):
            data[identity.INSTANCE] = self._instance
        return data
