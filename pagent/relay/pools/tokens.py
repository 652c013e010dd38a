"""The secrets that agents of pools present: the join token, and then a credential (docs/router.rst, "Pools").

Both are signed, so a router knows them again after a restart, and so do the other routers of the site.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pagent.access.signed import SigningKeys
from pagent.wire import identity
from pagent.wire.values import pack, unpack

#: Seconds that a credential is valid; it is renewed hourly.
CREDENTIAL_S: Final = 86_400.0

_JOIN: Final = "pool join"
_CREDENTIAL: Final = "pool credential"


class Joined(NamedTuple):
    """An agent that a pool has started. ``instance``: None in a join token, which is good for any process."""

    pool: str
    rid: str
    uid: str
    instance: str | None
    expires: float


class JoinTokens:
    """Makes tokens and credentials, and checks them. ``clock`` returns epoch seconds."""

    def __init__(self, keys: SigningKeys, clock: Callable[[], float] = time.time) -> None:
        self.keys = keys
        self._clock = clock

    def token(self, pool: str, rid: str, uid: str, lasts_s: float) -> str:
        """Return the join token of a request."""
        return self._sign(_JOIN, Joined(pool, rid, uid, None, self._clock() + lasts_s))

    def credential(self, joined: Joined, instance: str) -> str:
        """Return the credential that the process presents after it has joined."""
        return self._sign(_CREDENTIAL, joined._replace(instance=instance, expires=self._clock() + CREDENTIAL_S))

    def joined(self, peer: identity.Peer) -> Joined | None:
        """Return which agent of a pool a peer is; None if its token is none of a pool, not its own, or too old."""
        found = self._verify(_JOIN, peer.token) or self._verify(_CREDENTIAL, peer.token)
        if found is None or found.expires <= self._clock() or found.uid != peer.uid or peer.instance is None:
            return None
        return found if found.instance in (None, peer.instance) else None

    def _sign(self, purpose: str, joined: Joined) -> str:
        return self.keys.sign(purpose, bytes(pack(joined._asdict())))

    def _verify(self, purpose: str, token: str) -> Joined | None:
        content = self.keys.verify(purpose, token)
        if content is None:
            return None
        values: dict[str, Any] = unpack(content)
        return Joined(**values)
