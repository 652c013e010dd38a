"""The tokens, keys and certificates of a router's links and listeners. SIGHUP renews them."""

from __future__ import annotations

import fnmatch
import ssl
from typing import NamedTuple

from pagent.access.signed import SigningKeys
from pagent.access.tokens import AccessTable
from pagent.config.access_tokens import load_access_tokens
from pagent.config.keys import load_keys
from pagent.config.router import AcceptedToken, RouterSettings
from pagent.config.tokens import load_accepted, load_dashboard_tokens, read_token
from pagent.errors import ConfigError, ProtocolError
from pagent.net.dial import Address, parse_address
from pagent.net.tls import renew_certificate, server_context
from pagent.wire import identity
from pagent.wire.closing import POLICY_VIOLATION


class RouterCredentials(NamedTuple):
    """``accepted``: tokens of agents that dial in. ``dialled``: the token for each agent of ``dial.agents``.

    ``access``: the tokens and the header of clients; None for an open router. ``dashboard``: the tokens of
    ``dashboard.token_file``; None without one. ``keys``: those that sign; None for a random one.
    """

    accepted: tuple[AcceptedToken, ...]
    dialled: dict[Address, str]
    server_tls: ssl.SSLContext | None
    control_tls: ssl.SSLContext | None
    apps_tls: ssl.SSLContext | None
    dashboard_tls: ssl.SSLContext | None
    access: AccessTable | None
    dashboard: tuple[str, ...] | None
    keys: SigningKeys | None

    def token_of(self, peer: identity.Peer) -> str:
        """Return the token that an agent presented. ProtocolError if it is not accepted for the agent's uid."""
        if (index := identity.token_index(peer.token, (each.token for each in self.accepted))) is None:
            raise ProtocolError("handshake refused: the token is not accepted", POLICY_VIOLATION)
        token = self.accepted[index].token
        uid = peer.uid if isinstance(peer.uid, str) else peer.uid.hex()
        if not any(each.token == token and fnmatch.fnmatchcase(uid, each.uid) for each in self.accepted):
            raise ProtocolError("handshake refused: the token is not for an agent with this uid", POLICY_VIOLATION)
        return token

    @property
    def tokens(self) -> frozenset[str]:
        """The tokens that agents may present."""
        return frozenset(each.token for each in self.accepted)

    def renewed(self, settings: RouterSettings) -> RouterCredentials:
        """Read the files again and return their contents. ConfigError, without any change, if one cannot be used."""
        new = load_credentials(settings)
        for section, before, now in (
            ("server.tls", self.server_tls, new.server_tls),
            ("control.tls", self.control_tls, new.control_tls),
            ("apps.tls", self.apps_tls, new.apps_tls),
            ("dashboard.tls", self.dashboard_tls, new.dashboard_tls),
        ):
            if (before is None) is not (now is None):
                raise ConfigError(f"{section}.certificate: TLS is turned on or off by a restart only")
        if self.access is None and new.access is not None:
            raise ConfigError("access: an open router is closed by a restart only")
        if self.access is not None and new.access is None:
            # Never opened by a mistake in a file: without tokens, no client is let in.
            new = new._replace(access=AccessTable((), None))
        if self.control_tls is not None:
            renew_certificate(self.control_tls, settings.control.tls, "control.tls")
        if self.apps_tls is not None:
            renew_certificate(self.apps_tls, settings.apps.tls, "apps.tls")
        if self.dashboard_tls is not None:
            renew_certificate(self.dashboard_tls, settings.dashboard.tls, "dashboard.tls")
        if (self.dashboard is None) is not (new.dashboard is None):
            raise ConfigError(
                "dashboard.token_file: a random token is replaced by a file, or a file by it, by a restart"
            )
        return new._replace(control_tls=self.control_tls, apps_tls=self.apps_tls, dashboard_tls=self.dashboard_tls)


def load_credentials(settings: RouterSettings) -> RouterCredentials:
    """Read all files that the configuration names. ConfigError, which names the key, if one cannot be used."""
    dialled = {}
    for index, agent in enumerate(settings.dial.agents):
        try:
            address = parse_address(agent.address)
            dialled[address] = "" if agent.token_file is None else read_token(agent.token_file)
        except ConfigError as error:
            raise ConfigError(f"dial.agents[{index}]: {error}") from None
    return RouterCredentials(
        load_accepted(settings),
        dialled,
        server_context(settings.server.tls, "server.tls"),
        server_context(settings.control.tls, "control.tls"),
        server_context(settings.apps.tls, "apps.tls"),
        server_context(settings.dashboard.tls, "dashboard.tls"),
        load_access(settings),
        load_dashboard_tokens(settings.dashboard),
        None if settings.access.keys_file is None else SigningKeys(load_keys(settings.access.keys_file)),
    )


def load_access(settings: RouterSettings) -> AccessTable | None:
    """Return the tokens and the header of clients; None for an open router. ConfigError."""
    access = settings.access
    return AccessTable(load_access_tokens(access), access.header) if access.is_closed else None
