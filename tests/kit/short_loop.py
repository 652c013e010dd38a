"""An event loop that has no memory for one handle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest


class ShortLoop(asyncio.SelectorEventLoop):
    """Has no memory for the next handle if it is ``short``."""

    short = False

    def call_soon(self, *args: Any, **options: Any) -> asyncio.Handle:
        if self.short:
            self.short = False
            raise MemoryError
        return super().call_soon(*args, **options)


def fail_for_memory(work: Callable[[], object]) -> None:
    """Call ``work`` while the running loop, a ShortLoop, has no memory for a handle; expect that it fails."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ShortLoop)
    loop.short = True
    with pytest.raises(MemoryError):
        work()
