"""The signals that ask this process to end, or to read its configuration again, on every system and loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType


@contextmanager
def told_to_end(tell: Callable[[], object], *, reload: Callable[[], object] | None = None) -> Iterator[None]:
    """Call ``tell`` in the running loop for each SIGTERM, SIGINT and, where there is one, SIGHUP.

    With ``reload`` that is called for each SIGHUP instead. After the block they are ignored: the process is at its end,
    which one that comes late is not to turn into another.
    """
    actions: dict[int, Callable[[], object]] = {signal.SIGTERM: tell, signal.SIGINT: tell}
    # A terminal that is closed; under nohup it is ignored, and is to stay so.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        actions[signal.SIGHUP] = reload or tell
    with ExitStack() as stack:
        for number, action in actions.items():
            stack.callback(_handle(asyncio.get_running_loop(), number, action))
        try:
            yield
        finally:
            with _held_back(list(actions)):
                stack.close()
                for number in actions:
                    signal.signal(number, signal.SIG_IGN)


@contextmanager
def _held_back(numbers: list[int]) -> Iterator[None]:
    """What comes within the block is heard behind it, where the system can do that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _handle(loop: asyncio.AbstractEventLoop, number: int, tell: Callable[[], object]) -> Callable[[], object]:
    """Returns what undoes it."""
    try:
        loop.add_signal_handler(number, tell)
    except NotImplementedError:  # Windows: its loop only wakes up for one, so that Python's own handlers are run
        pass
    else:
        return lambda: loop.remove_signal_handler(number)

    def handler(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(tell)

    before = signal.signal(number, handler)
    return lambda: signal.signal(number, before)
