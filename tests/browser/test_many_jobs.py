"""The dashboard with no job, with one, and with 500; and the dashboard of an agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagent.cli.servers.agent_dashboard import agent_dashboard
from pagent.config.model import DashboardSettings, JobSettings, ServerSettings, Settings
from tests.browser.site import DashboardSite, is_live
from tests.kit.agents import TOKEN, running_agent
from tests.kit.browser import Browser
from tests.kit.browser_view import DESKTOP, PHONE, axe_findings, horizontal_overflow, resize
from tests.kit.peer import dial

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = "return Number(document.querySelector('.table')?.getAttribute('aria-rowcount') ?? 1) - 1"
#: Frames of a table that is scrolled to its end; the elements that it has, and whether it is at the end.
SCROLL = """
    const place = document.querySelector(".table-wrap");
    let most = 0;
    for (let frame = 0; frame < 60; frame += 1) {
        place.scrollTop += place.scrollHeight / 50;
        await new Promise(requestAnimationFrame);
        most = Math.max(most, document.querySelectorAll(".table-body [role=row]").length);
    }
    return [most, document.querySelector(".table-body").textContent.includes("job 499")];
"""


async def test_with_no_job_one_and_five_hundred(site: DashboardSite, chromium: Browser) -> None:
    page = await site.open(chromium, "jobs")
    await page.until("return document.getElementById('main').innerText.includes('No jobs')")
    for view in (DESKTOP, PHONE):
        await resize(page, view)
        assert await axe_findings(page) == []
        assert await horizontal_overflow(page) == []
    await site.create("job 000", None)
    await page.until(f"return (() => {{ {COUNT} }})() === 1")
    await site.create_many([f"job {number:03}" for number in range(1, 500)])
    await page.until(f"return (() => {{ {COUNT} }})() === 500")
    await page.run("document.querySelector('[data-sort=name]').click()")
    for view in (DESKTOP, PHONE):
        await resize(page, view)
        await page.run("document.querySelector('.table-wrap').scrollTop = 0")
        drawn, is_at_end = await page.run(SCROLL)
        assert 0 < drawn < 100
        assert is_at_end
        assert await horizontal_overflow(page) == []
        assert await axe_findings(page) == []


async def test_the_dashboard_of_an_agent(chromium: Browser, tmp_path: Path) -> None:
    settings = Settings(
        server=ServerSettings(accept_tokens=(TOKEN,)),
        jobs=JobSettings(root=tmp_path),
        dashboard=DashboardSettings(enabled=True),
    )
    async with (
        running_agent(settings) as agent,
        agent_dashboard(agent, settings) as router,
        dial(agent.rpc_port, TOKEN) as owner,
    ):
        uid = (await owner.call("job_create", "of a router"))["uid"]
        page = await chromium.open(f"http://127.0.0.1:{router.dashboard_port}/#token={router.dashboard_secret}")
        await is_live(page)
        await page.run("location.hash = '#/jobs'")
        await page.until("return document.querySelector('.table-body')?.textContent.includes('of a router')")
        await page.run(f"location.hash = '#/jobs/{uid}/files'")
        await page.until("return /empty|entr/.test(document.querySelector('.files-status')?.textContent)")
        allowed = "document.querySelector('[data-action=remove]').getAttribute('aria-disabled') !== 'true'"
        await page.until(f"return {allowed}")
