"""The tokens of the dashboard of an open router or of an agent (docs/dashboard.rst, "Access").

Without a token a request reads. A token of the dashboard has all scopes for all jobs. The gate is that of a closed
router, with a table of these tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import Final

from pagent.access.hosts import is_loopback_name
from pagent.access.operations import READ, SCOPES
from pagent.access.tokens import AccessTable
from pagent.config.router import AccessToken
from pagent.rpc.directory import Subject

#: The subject of requests without a token.
ANONYMOUS: Final = Subject("anonymous", (f"{READ}!any",))
_ALL: Final = tuple(f"{scope}!any" for scope in SCOPES)


def dashboard_table(tokens: Sequence[str], *, anonymous_reads: bool) -> AccessTable:
    """Return the table of these tokens. The subject of each is named after its place, so that no log has the token."""
    named = [
        (
            f"token {number} of the dashboard",
            AccessToken(
                f"dashboard-{number}", hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest(), _ALL
            ),
        )
        for number, token in enumerate(dict.fromkeys(tokens), start=1)
    ]
    return AccessTable(named, None, ANONYMOUS if anonymous_reads else None)


def served_hosts(allowed_hosts: Collection[str]) -> Callable[[str], bool]:
    """Return the condition for host names of a listener of the loopback."""
    allowed = {host.lower() for host in allowed_hosts}
    return lambda host: is_loopback_name(host) or host in allowed
