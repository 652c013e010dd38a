"""Remind the operator of a router that is open to clients of other machines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from pagent.access.gate import CLOSING_KEYS

_log = logging.getLogger(__name__)

#: How often an open router that can be reached from elsewhere says so.
REMINDER_S: Final = 3600.0


async def remind_of_open(listeners: Sequence[str]) -> None:
    """Log again and again that clients of other machines reach these listeners; it never returns."""
    while True:
        _log.warning(
            "the router is open on %s: every client that reaches it may run programs on its agents; set %s to close"
            " it, or let it listen on 127.0.0.1 (pagent help router-open)",
            " and ".join(listeners),
            CLOSING_KEYS,
        )
        await asyncio.sleep(REMINDER_S)
