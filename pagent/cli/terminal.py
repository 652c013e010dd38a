"""This process's own stdout and stderr, as the place where a job's output is shown."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from contextlib import suppress
from typing import Final, Literal

#: How long a line waits for a reader that is slow.
_SAY_WAIT_MS: Final = 500

_STRONG: Final = "\033[1;32m"
_PLAIN: Final = "\033[0m"


class _Screen:
    """Where the cursor of the terminal is, as far as this process has moved it."""

    in_line = False


def say(text: str, *, strong: bool = False) -> None:
    """Write a line to stderr. ``strong``: it stands out on a terminal. If nobody reads it, that stops nothing."""
    if not (has("stderr") and _takes(2)):
        return
    terminal = os.isatty(2)
    line = f"pagent: {text}"
    if strong and terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        line = f"{_STRONG}{line}{_PLAIN}"
    if terminal and _Screen.in_line:
        line = f"\n{line}"
    _Screen.in_line = False
    with suppress(OSError):  # past sys.stderr, which would keep what it cannot write, and fail again at the exit
        os.write(2, f"{line}\n".encode(errors="backslashreplace"))


def _takes(fd: int) -> bool:
    """Return whether it has room for a line, now or soon."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(_SAY_WAIT_MS))


def has(name: Literal["stdout", "stderr"]) -> bool:
    """Whether it is open. If not, its descriptor's number may long be that of something else."""
    return getattr(sys, name) is not None


async def write(fd: int, data: bytes) -> None:
    """Write all of ``data``. Others go on meanwhile, as whoever reads it may be slow. OSError if it cannot be done."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    if data and os.isatty(fd):
        _Screen.in_line = not data.endswith(b"\n")

    def settle(error: OSError | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: OSError | None = None
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        except OSError as failure:
            error = failure
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, error)

    # Not of a pool: one that is stuck in its write must not keep the process from ending.
    threading.Thread(target=run, name="output", daemon=True).start()
    await done
