"""The views of the page: themes, a phone's width, the keyboard, rights, hostile names, and what leaves the origin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.browser.site import ENDLESS, DashboardSite, is_live
from tests.kit.browser import Browser, Page
from tests.kit.browser_input import choose_files, click, press, tab_to, write
from tests.kit.browser_view import DESKTOP, PHONE, View, axe_findings, horizontal_overflow, resize, set_theme
from tests.kit.peer import PATIENCE_S
from tests.kit.routers import Answer
from tests.kit.watched import Watched, watched_agent

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = "<img src=x onerror=canary()>‮\"'`</script><script>canary()</script>"
CANARY = "window.canary = () => { window.sang = true };"
LOG = """
import sys, time
print("\\x1b[31mred\\x1b[0m <img src=x onerror=canary()><script>canary()</script>")
print("\\x1b]0;title\\x07\\u202e reversed", flush=True)
sys.stderr.write("<svg onload=canary()>\\n")
time.sleep(600)
"""
#: Cells of tables that do not fit into their rows.
CLIPPED = """
    return [...document.querySelectorAll(".table-body .cell")].filter((cell) => {
        const [box, row] = [cell, cell.parentElement].map((each) => each.getBoundingClientRect());
        return box.height && (box.top < row.top - 1 || box.bottom > row.bottom + 1);
    }).map((cell) => cell.className);
"""
FAILS = "import sys; print('<b>why</b>', file=sys.stderr); sys.exit(3)"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def jobs(site: DashboardSite) -> AsyncIterator[dict[str, str]]:
    """One job of each kind."""
    made = {
        "plain": await site.create("plain"),
        "hostile": await site.create(HOSTILE, LOG, labels={"course": HOSTILE}),
        "failed": await site.create("failed", FAILS),
    }
    (site.folder(made["hostile"]) / HOSTILE.replace("/", "-")).write_text(HOSTILE)
    yield made


async def answered(site: DashboardSite, path: str, fits: Callable[[Answer], bool]) -> None:
    """Wait until the API answers so."""
    async with asyncio.timeout(PATIENCE_S):
        while not fits(await site.ask("GET", path)):  # noqa: ASYNC110 - any change would do
            await asyncio.sleep(0.05)


def views(jobs: dict[str, str]) -> list[tuple[str, ...]]:
    tabs = ["summary", "log", "files", "terminal", "tickets"]
    each = [("jobs", uid, tab) for uid in (jobs["hostile"], jobs["failed"]) for tab in tabs[:3]]
    return [(), ("agents",), ("jobs",), *each, ("jobs", jobs["plain"], "terminal"), ("jobs", jobs["plain"], "tickets")]


async def go(page: Page, *parts: str) -> None:
    """Display a view, and wait until nothing of it is loading."""
    await page.run(f"location.hash = {DashboardSite.hash(*parts)!r}")
    await page.until("return document.getElementById('main').childElementCount > 0")
    await page.run("await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame)")
    if parts[-1:] == ("files",):
        await page.until("return /entr/.test(document.querySelector('.files-status')?.textContent)")
    elif parts[-1:] == ("log",):
        await page.until("return Boolean(document.querySelector('[data-panel=log]')?.textContent)")
    elif parts[-1:] == ("terminal",):
        await page.until("return document.querySelector('.terminal-status')?.textContent === 'Running'")


async def test_an_address_of_no_view_displays_the_first_one(
    site: DashboardSite, chromium: Browser, jobs: dict[str, str]
) -> None:
    page = await site.open(chromium)
    for name in ("nonesuch", "constructor", "__proto__"):
        await page.run(f"location.hash = '#/agents'; location.hash = '#/{name}'")
        await page.until("return document.querySelector('h1')?.textContent === 'Overview'")
        await page.run(f"location.hash = '#/jobs/{jobs['plain']}/{name}'")
        await page.until("return document.querySelector('[role=tab][aria-selected=true]')?.dataset.tab === 'summary'")
    assert page.events("Runtime.exceptionThrown") == []


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_each_view_is_accessible_and_fits_a_phone(
    site: DashboardSite, chromium: Browser, jobs: dict[str, str], theme: str
) -> None:
    page = await site.open(chromium)
    await set_theme(page, theme)
    await page.until(f"return document.documentElement.dataset.shade === {theme!r}")
    found: dict[str, list[str]] = {}
    for parts in views(jobs):
        await resize(page, DESKTOP)
        await go(page, *parts)
        found[f"axe {parts}"] = await axe_findings(page)
        await resize(page, PHONE)
        await page.run("await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame)")
        found[f"phone {parts}"] = [*await horizontal_overflow(page), *await axe_findings(page)]
        if await page.run("return document.documentElement.scrollHeight > innerHeight"):
            found[f"phone {parts}"].append("the page scrolls as well as the view")
        found[f"phone {parts}"] += await page.run(CLIPPED)
    assert {where: what for where, what in found.items() if what} == {}


#: The dialogs by the view that has the button.
DIALOGS = (
    ((), "#help-button"),
    ((), "#token-button"),
    (("agents", "AGENT"), "[data-action=cordon]"),
    (("jobs", "JOB", "summary"), "[data-action=kill]"),
    (("jobs", "JOB", "summary"), "[data-action=remove]"),
    (("jobs", "JOB", "files"), "[data-path=empty] .file-name"),
    (("jobs", "JOB", "files"), "[data-path=binary] .file-name"),
    (("jobs", "JOB", "files"), "[data-path^=long] .file-name"),
    (("jobs", "JOB", "files"), "[data-path^=long] [data-action=delete]"),
)


@pytest.mark.parametrize(("theme", "view"), [("dark", DESKTOP), ("light", PHONE)])
async def test_each_dialog_is_accessible_and_gives_the_focus_back(
    site: DashboardSite, chromium: Browser, theme: str, view: View
) -> None:
    uid = await site.create("long name " * 20)
    for name, data in (("empty", b""), ("binary", bytes(9)), ("long" * 60, b"x" * 3_000 + b"\nword" * 3_000)):
        (site.folder(uid) / name).write_bytes(data)
    page = await site.open(chromium)
    await set_theme(page, theme)
    await resize(page, view)
    found: dict[str, list[str]] = {}
    for parts, button in DIALOGS:
        await go(page, *({"AGENT": site.agent.uid, "JOB": uid}.get(part, part) for part in parts))
        allowed = f"const button = document.querySelector({button!r}); return button && !button.ariaDisabled"
        await page.until(allowed)
        await page.run(f"document.querySelector({button!r}).focus()")
        await press(page, "Enter")
        await page.until("return Boolean(document.querySelector('dialog[open]'))")
        found[f"{parts} {button}"] = [*await axe_findings(page), *await horizontal_overflow(page)]
        await press(page, "Escape")
        await page.until(f"return document.activeElement?.matches({button!r})")
    assert {where: what for where, what in found.items() if what} == {}


async def test_what_a_job_says_is_text_and_nothing_leaves_the_origin(
    site: DashboardSite, chromium: Browser, jobs: dict[str, str]
) -> None:
    page = await site.open(chromium)
    await page.call("Page.addScriptToEvaluateOnNewDocument", source=CANARY)
    await page.call("Page.reload")
    await is_live(page)
    for parts in views(jobs):
        await go(page, *parts)
        assert await page.run("return document.querySelectorAll('main img, main script, main b').length") == 0, parts
        assert "‮" not in await page.run("return document.body.innerText"), parts
    await go(page, "jobs", jobs["hostile"], "log")
    await page.until("return document.body.innerText.includes('red <img src=x onerror=canary()>')")
    assert not await page.run("return window.sang")
    title = await page.run("return document.title")
    assert title != "title"
    urls = [each["request"]["url"] for each in page.events("Network.requestWillBeSent")]
    assert [url for url in urls if not url.startswith((site.origin, "data:", "blob:"))] == []
    sockets = [each["url"] for each in page.events("Network.webSocketCreated")]
    assert sockets
    assert [url for url in sockets if not url.startswith(site.origin.replace("http", "ws"))] == []
    messages = [each["entry"]["text"] for each in page.events("Log.entryAdded")]
    assert [text for text in messages if "Content Security Policy" in text] == []
    assert page.events("Runtime.exceptionThrown") == []


async def test_the_page_of_a_job_whose_agent_says_values_of_other_types(site: DashboardSite, chromium: Browser) -> None:
    agent = Watched()
    for number, value in enumerate((7, "8888", {"a": 1}, ["8888", None])):
        uid = f"{number:032x}"
        said = dict.fromkeys(("ports", "pid", "exit_code", "signal", "error", "rss_bytes", "started_at"), value)
        agent.jobs[uid] = {"uid": uid, "name": f"said {number}", "state": "RUNNING", "labels": value, **said}
    async with watched_agent(site.router, "hostile", agent):
        page = await site.open(chromium, "jobs")
        for uid, job in agent.jobs.items():
            await go(page, "jobs", uid, "summary")
            await page.until(f"return document.querySelector('h1')?.textContent === {job['name']!r}")
    assert page.events("Runtime.exceptionThrown") == []


async def test_the_token_leaves_the_address_and_nothing_is_allowed_without_one(
    site: DashboardSite, chromium: Browser, jobs: dict[str, str]
) -> None:
    page = await site.open(chromium, token=False)
    await go(page, "jobs", jobs["plain"], "summary")
    for action in ("kill", "remove"):
        script = f"return document.querySelector('[data-action={action}]')?.getAttribute('aria-disabled') === 'true'"
        await page.until(script)
        await page.run(f"document.querySelector('[data-action={action}]').click()")
        assert not await page.run("return Boolean(document.querySelector('dialog'))")
    await page.until("return document.getElementById('token-button').innerText.includes('Read-only')")
    # A token in the address of an open page is taken as well.
    await page.run(f"location.hash = 'token={site.token}'")
    await page.until("return document.getElementById('token-button').innerText.includes('dashboard-1')")
    assert site.token not in await page.run("return location.href")
    history = (await page.call("Page.getNavigationHistory"))["entries"]
    assert site.token not in str(history[-1])
    await go(page, "jobs", jobs["plain"], "summary")
    await page.until("return document.querySelector('[data-action=kill]').getAttribute('aria-disabled') !== 'true'")


async def test_a_view_begins_at_its_top(site: DashboardSite, chromium: Browser, jobs: dict[str, str]) -> None:
    page = await site.open(chromium)
    await resize(page, PHONE)
    for parts in (("jobs", jobs["failed"], "summary"), ("agents", site.agent.uid), ()):
        await go(page, *parts)
        assert await page.run("return document.getElementById('main').scrollTop") == 0, parts
        assert await page.run(
            "const main = document.getElementById('main'); main.scrollTop = 150; return main.scrollTop"
        )


async def test_the_address_says_which_jobs_are_displayed(site: DashboardSite, chromium: Browser) -> None:
    await site.create("displayed", "raise SystemExit(1)")
    page = await site.open(chromium, "jobs")
    await page.until("return Boolean(document.querySelector('.state-filter [data-state=FAILED]'))")
    await page.run("document.querySelector('.state-filter [data-state=FAILED]').click()")
    assert await page.run("return location.hash") == "#/jobs?state=FAILED"
    await page.run("document.querySelector('[data-ended=true]').click()")
    assert await page.run("return location.hash") == "#/jobs?ended=1"
    # Another address, back, and a reload.
    await page.run("location.hash = '#/jobs?q=agent%3Anone&state=RUNNING'")
    filled = "document.getElementById('filter')?.value"
    await page.until(f"return {filled} === 'agent:none'")
    ended = "document.querySelector('[data-ended=true]')?.getAttribute('aria-pressed')"
    assert await page.run(f"return {ended}") == "false"
    await page.run("history.back()")
    await page.until(f"return {filled} === '' && {ended} === 'true'")
    await page.call("Page.reload")
    await is_live(page)
    await page.until(f"return {filled} === '' && {ended} === 'true'")
    # A link to the view displays what was displayed last.
    await click(page, "[data-view=agents]")
    await click(page, "#nav [data-view=jobs]")
    await page.until("return location.hash === '#/jobs?ended=1'")


async def test_messages_keep_the_focus_and_are_in_the_dialog_that_is_open(
    site: DashboardSite, chromium: Browser
) -> None:
    page = await site.open(chromium)
    say = "const { message } = await import('./dialog.js'); message('said', { kind: 'error' });"
    await page.run(say + say.replace("const { message }", "const { message: again }").replace("; message(", "; again("))
    for left in (1, 0):
        await tab_to(page, "#toasts button")
        await press(page, "Enter")
        assert await page.run("return document.querySelectorAll('.toast').length") == left
        assert await page.run("return document.activeElement !== document.body")
    await press(page, "?")
    await page.until("return Boolean(document.querySelector('dialog[open]'))")
    await page.run(say)
    await tab_to(page, "dialog #toasts button")
    assert await axe_findings(page) == []
    await press(page, "Enter")
    assert await page.run("return document.querySelector('dialog').contains(document.activeElement)")
    await page.run(say)
    await press(page, "Escape")
    await page.until("return !document.querySelector('dialog')")
    assert "said" in await page.run("return document.getElementById('toasts').innerText")


async def test_a_view_is_printed_whole_and_in_light(site: DashboardSite, chromium: Browser) -> None:
    await site.create_many([f"printed {number}" for number in range(60)])
    page = await site.open(chromium, "jobs")
    await set_theme(page, "dark")
    rows = "document.querySelectorAll('.table-body [role=row]').length"
    await page.until(f"return document.querySelector('.table').getAttribute('aria-rowcount') > 60 && {rows} < 60")
    await page.call("Emulation.setEmulatedMedia", media="print")
    await page.until(f"return {rows} >= 60 && document.documentElement.dataset.shade === 'light'")
    height = "document.documentElement.scrollHeight - document.querySelector('.table-body').offsetHeight"
    assert await page.run(f"return {height}") > 0
    assert await page.run("return document.querySelector('.top').offsetHeight") == 0
    await page.call("Emulation.setEmulatedMedia", media="")
    await set_theme(page, "dark")
    await page.until(f"return {rows} < 60 && document.documentElement.dataset.shade === 'dark'")


async def test_all_actions_by_keyboard_alone(site: DashboardSite, chromium: Browser, tmp_path: Path) -> None:
    uid = await site.create("by keyboard", ENDLESS)
    page = await site.open(chromium)
    await resize(page, DESKTOP)
    await write(page, "gj")
    await page.until("return document.getElementById('filter') !== null")
    await write(page, "/")
    await write(page, "by keyboard")
    await page.until("return document.querySelectorAll('.table-body [role=row]').length === 1")
    await press(page, "ArrowDown")
    await press(page, "Enter")
    await page.until(f"return location.hash.includes({uid!r})")
    # Upload: the button opens the chooser of the browser, which a test answers for it.
    await tab_to(page, "#main [role=tab][tabindex='0']")
    for _ in range(2):
        await press(page, "ArrowRight")
    await page.until("return Boolean(document.querySelector('.files-table tbody tr'))")
    await page.call("Page.setInterceptFileChooserDialog", enabled=True)
    await tab_to(page, "[data-action=upload]")
    await press(page, "Enter")
    async with asyncio.timeout(PATIENCE_S):
        while not page.events("Page.fileChooserOpened"):  # noqa: ASYNC110 - events come in one task
            await asyncio.sleep(0.02)
    file = tmp_path / "by-keyboard.txt"
    file.write_text("x")
    await choose_files(page, "input[name=files]", [file])
    await page.until("return Boolean(document.querySelector('tr[data-path=\"by-keyboard.txt\"]'))")
    # A terminal, and out of it.
    await tab_to(page, "#tab-files", back=True)
    await press(page, "ArrowRight")
    await page.until("return document.querySelector('.terminal-status')?.textContent === 'Running'")
    await tab_to(page, ".xterm-helper-textarea")
    await write(page, "touch from-terminal\n")
    await press(page, "Control+F6")
    await answered(site, f"jobs/{uid}/files?list=1", lambda answer: b"from-terminal" in answer.body)
    # A signal, and the removal.
    await tab_to(page, "[data-action=kill]", back=True)
    await press(page, "Enter")
    await tab_to(page, "dialog [data-action=confirm]")
    await press(page, "Enter")
    await page.until("return !document.querySelector('dialog')")
    await answered(site, f"jobs/{uid}", lambda answer: answer.json["state"] != "RUNNING")
    await tab_to(page, "[data-action=remove]")
    await press(page, "Enter")
    await tab_to(page, "dialog [data-action=confirm]")
    await press(page, "Enter")
    await page.until("return !document.querySelector('dialog')")
    await answered(site, f"jobs/{uid}", lambda answer: answer.status == 404)
