"""A router in the test's loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pagent.router import Router
from tests.kit.routers import running_router


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    async with running_router() as running:
        yield running
