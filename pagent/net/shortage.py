"""A loop that cannot accept connections for lack of descriptors says so once, not for each try.

asyncio's own loop reports one failed accept as often as its backlog is long, with a traceback each, and again a second
later. uvloop reports nothing and tries again.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import Any, Final

from pagent.log import Throttle

_SHORTAGES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def tell_shortages_once(loop: asyncio.AbstractEventLoop) -> None:
    """Make this the loop's exception handler; what is no shortage goes to the default one."""
    throttle = Throttle(logging.getLogger(__name__))

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            throttle.log(logging.ERROR, "shortage", "%s: %s", context["message"], error.strerror)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
