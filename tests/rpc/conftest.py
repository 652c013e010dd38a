"""Two connections of ours that are joined, with the methods that the test's own fixture ``service`` has."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pagent.rpc import methods
from tests.kit.joined import Joined


@pytest.fixture(params=[True, False], ids=["flow", "no flow"])
async def joined(request: pytest.FixtureRequest, service: object) -> AsyncIterator[Joined]:
    made = Joined(methods.methods_of(service), flow=request.param)
    await made.settle()
    yield made
    await made.close()
