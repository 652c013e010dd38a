"""Pools and jobs that wait for an agent of one, whose engine prints why."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from pagent.config.router import Access, PoolHost
from tests.browser.site import DashboardSite, dashboard_site
from tests.kit.browser import Browser
from tests.kit.browser_input import press, tab_to
from tests.kit.browser_view import DESKTOP, PHONE, axe_findings, horizontal_overflow, resize
from tests.kit.pools import START, keys_in, pool_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENGINE = "echo 'queued: <b>Priority</b>' >&2; exec sleep 600"
TABS = ("summary", "log", "files", "terminal", "tickets")


@pytest_asyncio.fixture(loop_scope="module")
async def pooled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DashboardSite]:
    """A router with a pool whose engine starts no agent."""
    folder = tmp_path_factory.mktemp("pooled")
    jobs = folder / "jobs"
    jobs.mkdir()
    pools = {"gpu": pool_of("sh", "-c", ENGINE, on=PoolHost())}
    async with dashboard_site(jobs, access=Access(keys_file=keys_in(folder)), pools=pools) as running:
        yield running


async def test_a_job_that_waits_is_displayed_and_cancelled(pooled: DashboardSite, chromium: Browser) -> None:
    answer = await pooled.ask(
        "POST", "jobs", {"name": "waits", "agent": {"pool": "gpu"}, "start": {**START, "env": {}}}
    )
    assert answer.status == 202, answer
    uid = answer.json["uid"]
    page = await pooled.open(chromium, "jobs")
    await resize(page, DESKTOP)
    row = "document.querySelector('.table-body')?.innerText ?? ''"
    await page.until(f"const text = {row}; return text.includes('Queued') && text.includes('<b>Priority</b>')")
    for parts in (("pools",), *(("jobs", uid, tab) for tab in TABS)):
        await page.run(f"location.hash = {pooled.hash(*parts)!r}")
        await page.until("return document.querySelector('h1')?.textContent.length > 0")
        for view in (DESKTOP, PHONE):
            await resize(page, view)
            assert await horizontal_overflow(page) == [], parts
            assert await axe_findings(page) == [], parts
    text = "document.getElementById('main').innerText"
    await page.until(f"return {text}.includes('waits')")
    for action in ("open", "kill"):
        assert "waits for an agent" in await page.run(f"return document.querySelector('[data-action={action}]').title")
    await tab_to(page, "[data-action=remove]")
    await press(page, "Enter")
    asked = await page.until("return document.querySelector('dialog[open]')?.innerText")
    assert "Cancel the job?" in asked
    assert f"waits ({uid[:8]})" in asked
    await tab_to(page, "dialog [data-action=confirm]")
    await press(page, "Enter")
    await page.until("return document.getElementById('toasts').innerText.includes('waits is cancelled')")
    await page.until("return location.hash === '#/jobs'")
    await page.until(f"return !({row}).includes('Queued')")
