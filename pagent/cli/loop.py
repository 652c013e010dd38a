"""Choose the event loop: uvloop where it is installed, otherwise asyncio's. ``PAGENT_LOOP`` overrides the choice."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pagent.errors import ConfigError
from pagent.runtime.heap import HeapTrimmer, freeze_loaded, keep_freed_memory

T = TypeVar("T")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_log = logging.getLogger(__name__)


def choose(wanted: str) -> tuple[str, LoopFactory]:
    """Return the name of the loop and its factory.

    :param wanted: ``asyncio``, ``uvloop``, or empty for uvloop where it is installed.
    :raises ConfigError: ``wanted`` is another word, or is not installed.
    """
    if wanted not in ("", "asyncio", "uvloop"):
        raise ConfigError("PAGENT_LOOP: must be asyncio or uvloop")
    if wanted == "asyncio":
        return "asyncio", asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        if wanted:
            raise ConfigError("PAGENT_LOOP: uvloop is not installed") from None
        return "asyncio", asyncio.new_event_loop
    return "uvloop", uvloop.new_event_loop


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main()`` on the chosen loop, and close the loop."""
    name, factory = choose(os.environ.get("PAGENT_LOOP", ""))
    _log.info("event loop: %s", name)
    keep_freed_memory()
    freeze_loaded()
    with asyncio.Runner(loop_factory=factory) as runner:
        trimmer = HeapTrimmer(runner.get_loop())
        try:
            return runner.run(main())
        finally:
            trimmer.close()
