"""The page and a closed router: tokens of limited scopes, another token, a token that is forgotten, and tickets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from pagent.config.router import Access, AccessToken, RouterApps
from tests.access.conftest import OWN, token
from tests.browser.site import DashboardSite, dashboard_site, is_live
from tests.kit.browser import Browser, Page
from tests.kit.browser_input import click, press, tab_to, write
from tests.kit.browser_view import PHONE, axe_findings, horizontal_overflow, resize
from tests.kit.peer import PATIENCE_S
from tests.kit.programs import ECHO

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORM = "return document.querySelector('dialog[open]')?.innerText"
TOKENS = (
    AccessToken("root", hashlib.sha256(b"a-token").hexdigest(), tuple(f"{scope}!any" for scope in OWN)),
    token("reader", "read!any"),
    token("ann", *OWN),
    token("proxy", "proxy!any"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DashboardSite]:
    """A closed router with names for jobs."""
    folder = tmp_path_factory.mktemp("closed")
    async with dashboard_site(folder, access=Access(tokens=TOKENS), apps=RouterApps(enabled=True)) as running:
        yield running


async def opened_with(site: DashboardSite, chromium: Browser, text: str) -> Page:
    return await chromium.open(f"{site.origin}/#token={text}")


async def shows(page: Page, text: str) -> None:
    await page.until(f"return ({FORM.removeprefix('return ')} ?? '').includes({text!r})")


async def submit_token(page: Page, text: str) -> None:
    await tab_to(page, "#token")
    await write(page, text + "\n")


def streams(page: Page) -> int:
    """The number of streams of events that the page has asked for."""
    return len([each for each in page.events("Network.requestWillBeSent") if "/v1/events" in each["request"]["url"]])


async def test_a_token_that_may_not_read_is_not_tried_again(closed: DashboardSite, chromium: Browser) -> None:
    page = await opened_with(closed, chromium, "secret-proxy")
    await shows(page, "no scope 'read'")
    assert await page.run("return document.getElementById('link-state').dataset.state") == "unauthorized"
    assert streams(page) == 1
    await page.run("document.getElementById('token').value = 'two words'")
    await press(page, "Enter")
    assert not await page.run("return document.getElementById('token').validity.valid")
    assert streams(page) == 1


@pytest.mark.parametrize("text", ["%", "%E4", "%E2%82%AC"])
async def test_the_page_works_without_a_token_that_is_broken(
    closed: DashboardSite, chromium: Browser, text: str
) -> None:
    page = await opened_with(closed, chromium, text)
    await page.until("return Boolean(document.querySelector('dialog[open] #token'))")
    await submit_token(page, "a-token")
    await is_live(page)


async def test_nothing_stays_of_a_token_that_is_forgotten(closed: DashboardSite, chromium: Browser) -> None:
    uid = await closed.create("of the former person")
    page = await closed.open(chromium, "jobs", uid, "terminal")
    await page.until("return document.querySelector('.terminal-status')?.textContent === 'Running'")
    await click(page, "#token-button")
    before = len(page.events("Page.loadEventFired"))
    await click(page, "#token-forget")
    await loaded_again(page, before)
    await page.until("return document.getElementById('link-state')?.dataset.state === 'unauthorized'")
    assert "former" not in await page.run("return document.documentElement.textContent")
    assert uid not in await page.run("return location.href")
    assert await page.run("return sessionStorage.length") == 0
    # Another person in the same tab sees what that person may see, with the address that the command has printed.
    await submit_token(page, f"{closed.origin}/#token=secret-ann")
    await is_live(page)
    await page.run(f"location.hash = {closed.hash('jobs', uid, 'terminal')!r}")
    await page.until("return document.getElementById('main').innerText.includes('The job is not here')")
    # A token instead of another one.
    await click(page, "#token-button")
    before = len(page.events("Page.loadEventFired"))
    await submit_token(page, "secret-reader")
    await loaded_again(page, before)
    await is_live(page)
    await page.until("return document.getElementById('main').innerText.includes('needs a token with the scope “exec”')")


async def loaded_again(page: Page, before: int) -> None:
    """Wait until the page is loaded more often than it was."""
    async with asyncio.timeout(PATIENCE_S):
        while len(page.events("Page.loadEventFired")) == before:  # noqa: ASYNC110 - events come in one task
            await asyncio.sleep(0.02)


async def job_with_a_port(site: DashboardSite) -> str:
    start = {"args": [sys.executable, "-c", ECHO, "{port}"], "port": "auto", "ready": "connect"}
    answer = await site.ask("POST", "jobs", {"name": "with a port", "start": start})
    assert answer.status == 201, answer
    uid: str = answer.json["uid"]
    return uid


async def test_a_ticket_with_terms_is_made_and_listed(closed: DashboardSite, chromium: Browser) -> None:
    uid = await job_with_a_port(closed)
    page = await closed.open(chromium, "jobs", uid, "tickets")
    await resize(page, PHONE)
    await page.until("return document.querySelector('[data-action=ticket]')?.getAttribute('aria-disabled') === null")
    await click(page, "[data-action=ticket]")
    await page.until("return Boolean(document.querySelector('dialog[open] [name=subject]'))")
    assert await horizontal_overflow(page) == []
    assert await axe_findings(page) == []
    await tab_to(page, "dialog [name=subject]")
    await write(page, "ben")
    await tab_to(page, "dialog [name=note]")
    await write(page, "for the demo\n")
    await shows(page, "The ticket is made")
    assert "/.pagent/enter?c=" in await page.run(FORM)
    assert await horizontal_overflow(page) == []
    assert await axe_findings(page) == []
    await press(page, "Escape")
    row = "return document.querySelector('table[aria-label=Tickets] tbody')?.innerText"
    listed = await page.until(row)
    assert "ben" in listed
    assert "for the demo" in listed
    # A ticket that others make is listed as well.
    assert (await closed.ask("POST", f"jobs/{uid}/tickets", {"note": "by others"})).status == 201
    await page.until(f"return ({row.removeprefix('return ')}).includes('by others')")


async def test_a_double_click_opens_a_job_once(closed: DashboardSite, chromium: Browser) -> None:
    uid = await job_with_a_port(closed)
    page = await closed.open(chromium, "jobs", uid)
    await page.until("return document.querySelector('[data-action=open]')?.getAttribute('aria-disabled') === null")
    await page.run("const open = document.querySelector('[data-action=open]'); open.click(); open.click()")
    await page.run("location.hash += '/tickets'")
    await page.until("return document.querySelectorAll('table[aria-label=Tickets] tbody tr').length === 1")
    made = [
        json.loads(each["request"]["postData"])
        for each in page.events("Network.requestWillBeSent")
        if each["request"]["method"] == "POST" and each["request"]["url"].endswith("/tickets")
    ]
    assert made == [{}]
