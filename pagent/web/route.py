"""One route of a router's API, with its operation for the gate and its action for the audit log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from aiohttp import web

#: The prefix of the API for portals.
V1: Final = "/v1"

#: Names the operation of a request in the audit log, if it has a line there.
Action = Callable[[web.Request], str | None]


class Route(NamedTuple):
    """``operation``: the operation that the gate judges. ``action``: its name in the audit log.

    ``path`` is one of aiohttp's: a name in braces is a part of the path.
    """

    method: str
    path: str
    operation: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    action: Action | None = None


def named(name: str) -> Action:
    """Return the action of a route whose requests all have one name in the audit log."""
    return lambda request: name


def is_v1(path: str) -> bool:
    """Return whether a path belongs to the API for portals, whatever is found there."""
    return path == V1 or path.startswith(f"{V1}/")
