"""The page and its router: a stream that is cut, a router that restarts, and the dashboard of an agent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.site import DashboardSite, dashboard_site, is_live
from tests.kit.browser import Browser, Page
from tests.kit.proxies import CuttableProxy, cuttable_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

JOBS = "[...document.querySelectorAll('.table-body [role=row]')].map(row => row.innerText)"
LOST = "return document.getElementById('link-state').dataset.state === 'lost'"


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(site: DashboardSite) -> AsyncIterator[CuttableProxy]:
    async with cuttable_proxy(site.port) as running:
        yield running


async def has_job(page: Page, name: str) -> None:
    await page.until(f"return {JOBS}.some(text => text.includes({name!r}))")


async def test_a_stream_that_is_cut_is_resumed_with_what_was_missed(
    site: DashboardSite, proxy: CuttableProxy, chromium: Browser
) -> None:
    await site.create("before", None)
    page = await site.open(chromium, "jobs", origin=f"http://127.0.0.1:{proxy.port}")
    await has_job(page, "before")
    target, proxy.target = proxy.target, 1
    proxy.cut()
    await page.until(LOST)
    assert "Connection lost" in await page.run("return document.getElementById('banner').innerText")
    await site.create("meanwhile", None)
    proxy.target = target
    await has_job(page, "meanwhile")
    await is_live(page)
    resumed = [
        each["request"]["headers"].get("Last-Event-ID")
        for each in page.events("Network.requestWillBeSent")
        if "/v1/events" in each["request"]["url"]
    ]
    assert resumed[0] is None
    assert resumed[-1]


async def test_a_page_outlives_its_router(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("restart")
    tokens = folder / "tokens"
    tokens.write_text("a-token\n")
    async with dashboard_site(folder, token_file=tokens) as first:
        await first.create("of the first router", None)
        page = await first.open(chromium, "jobs")
        await has_job(page, "of the first router")
        port = first.port
    await page.until(LOST)
    async with dashboard_site(folder, token_file=tokens, port=port) as second:
        await second.create("of the second router", None)
        await is_live(page)
        await has_job(page, "of the second router")
        assert not await page.run(f"return {JOBS}.some(text => text.includes('of the first router'))")


async def test_the_page_of_a_job_that_another_router_does_not_have(
    site: DashboardSite, chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("other")
    tokens = folder / "tokens"
    tokens.write_text(f"{site.token}\n")
    uid = await site.create("of the first router", None)
    async with cuttable_proxy(site.port) as proxy, dashboard_site(folder, token_file=tokens) as other:
        page = await site.open(chromium, "jobs", uid, origin=f"http://127.0.0.1:{proxy.port}")
        await page.until("return document.querySelector('h1')?.innerText === 'of the first router'")
        proxy.target = other.port
        proxy.cut()
        await page.until("return document.getElementById('main').innerText.includes('The job is not here')")
        proxy.target = site.port
        proxy.cut()
        await page.until("return document.querySelector('h1')?.innerText === 'of the first router'")


async def test_a_log_that_is_opened_without_a_connection_is_read_later(
    site: DashboardSite, proxy: CuttableProxy, chromium: Browser
) -> None:
    uid = await site.create(
        "writes later", "import time; time.sleep(0.1); print('a line', flush=True); time.sleep(600)"
    )
    page = await site.open(chromium, "jobs", uid, origin=f"http://127.0.0.1:{proxy.port}")
    await page.until("return document.querySelector('h1')?.innerText === 'writes later'")
    target, proxy.target = proxy.target, 1
    proxy.cut()
    await page.until(LOST)
    await page.run("document.getElementById('tab-log').click()")
    await page.until("return document.querySelector('.log-note')?.textContent === 'The connection is lost.'")
    proxy.target = target
    await page.until("return document.querySelector('.log-lines')?.textContent === 'a line'")
    await page.until("return document.querySelector('[data-stream=stdout] .number').textContent === '7 B'")
