"""The limit on descriptors: the hard limit for this process, and the original one for its jobs."""

from __future__ import annotations

import functools
import os
import sys
from contextlib import suppress


@functools.cache
def original_limit() -> tuple[int, int] | None:
    """Return the soft and the hard limit that this process was started with; None where there is no such limit."""
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_limit() -> None:
    """Raise the soft limit to the hard one."""
    original = original_limit()
    if original is None:
        return
    import resource

    hard = original[1]
    with suppress(OSError, ValueError):  # macOS: the hard one may be more than the kernel has
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_shortage() -> OSError | None:
    """Return the error of a process that has no descriptor left; resolvers of names do not pass it on."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error
    return None


def open_limit(unlimited: int) -> int:
    """Return how many descriptors this process may have open; ``unlimited`` where there is no such limit."""
    if sys.platform == "win32":
        return unlimited
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return unlimited if soft == resource.RLIM_INFINITY else soft
