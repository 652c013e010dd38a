"""One Chromium, one router with a dashboard and one agent for all tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.site import DashboardSite, dashboard_site
from tests.kit.browser import PROGRAM, Browser, running_browser


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker("browser")
            if PROGRAM is None:
                item.add_marker(pytest.mark.skip(reason="chromium is not installed"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_chromium(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with running_browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def chromium(running_chromium: Browser) -> AsyncIterator[Browser]:
    """Chromium; the pages of the test are closed after it."""
    yield running_chromium
    await running_chromium.close_pages()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DashboardSite]:
    async with dashboard_site(tmp_path_factory.mktemp("jobs")) as running:
        yield running
