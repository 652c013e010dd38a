"""This process's own stdout and stderr, as the place where a job's output is shown."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
from contextlib import suppress
from typing import Final, Literal

#: So long a line waits for whoever is slow to read.
_SAY_WAIT_MS: Final = 500


def say(text: str) -> None:
    """A line for the person at the terminal. Nobody may be there any more, or read it: that stops nothing."""
    if has("stderr") and _takes(2):
        with suppress(OSError):  # past sys.stderr, which would keep what it cannot write, and fail again at the exit
            os.write(2, f"pagent: {text}\n".encode(errors="backslashreplace"))


def _takes(fd: int) -> bool:
    """Whether it has room for a line, or has it soon."""
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
