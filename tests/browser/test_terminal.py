"""The tab Terminal of a job: typing, the size, full-screen programs, much output, the clipboard, and the end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.site import DashboardSite
from tests.kit.browser import Browser, Page
from tests.kit.browser_input import click, press, tab_to, write
from tests.kit.browser_view import DESKTOP, PHONE, View, axe_findings, resize
from tests.kit.peer import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCREEN = "document.querySelector('.xterm-rows').textContent.replaceAll('\\u00a0', ' ')"
STATUS = "document.querySelector('.terminal-status')?.textContent"
#: Draws on the alternate screen until a key is pressed.
FULL_SCREEN = """
import os, sys, termios, tty
before = termios.tcgetattr(0)
tty.setraw(0)
size = os.get_terminal_size()
sys.stdout.write(f"\\x1b[?1049h\\x1b[2J\\x1b[5;10HFULL {size.lines}x{size.columns}")
sys.stdout.flush()
key = os.read(0, 1)
sys.stdout.write("\\x1b[?1049l")
termios.tcsetattr(0, termios.TCSADRAIN, before)
print("key", key)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def uid(site: DashboardSite) -> AsyncIterator[str]:
    files = [{"path": "full.py", "text": FULL_SCREEN}]
    yield await site.create("terminal", files=files)


@pytest_asyncio.fixture(loop_scope="module")
async def page(site: DashboardSite, chromium: Browser, uid: str) -> Page:
    """A page with a shell that has answered."""
    return await terminal_of(site, chromium, uid)


async def terminal_of(site: DashboardSite, chromium: Browser, uid: str) -> Page:
    opened = await site.open(chromium, "jobs", uid, "terminal")
    await resize(opened, DESKTOP)
    await status(opened, "Running")
    await click(opened, ".terminal-screen")
    await write(opened, "PS1='> '; clear\n")
    await opened.until(f"return /^> *$/.test({SCREEN})")
    return opened


async def status(page: Page, text: str) -> None:
    await page.until(f"return ({STATUS} ?? '').includes({text!r})")


async def shows(page: Page, text: str) -> None:
    await page.until(f"return {SCREEN}.includes({text!r})")


async def size(page: Page, mark: str) -> list[int]:
    await write(page, f"echo {mark}: $(stty size)\n")
    script = (
        f"const found = /{mark}: (\\d+) (\\d+)/.exec({SCREEN}); return found && [Number(found[1]), Number(found[2])]"
    )
    got: list[int] = await page.until(script)
    return got


async def test_a_shell_has_a_terminal_whose_size_follows_the_element(page: Page) -> None:
    await write(page, "echo $TERM-$((6 * 7))\n")
    await shows(page, "xterm-256color-42")
    rows, cols = await size(page, "first")
    assert rows > 10
    assert cols > 80
    await resize(page, View(700, 500))
    count = "document.querySelector('.xterm-rows').children.length"
    smaller = await page.until(f"return {count} < {rows} && {count}")
    assert (await size(page, "second"))[0] == smaller


async def test_a_full_screen_program_and_the_screen_after_it(page: Page) -> None:
    await write(page, f"echo before; {sys.executable} full.py\n")
    await shows(page, "FULL ")
    assert "before" not in await page.run(f"return {SCREEN}")
    await write(page, "q")
    await shows(page, "key b'q'")
    assert "before" in await page.run(f"return {SCREEN}")


async def test_output_without_end_is_bounded_and_stops_at_once(page: Page) -> None:
    await write(page, "yes\n")
    await shows(page, "y" * 5)
    script = """
        const frames = [];
        for (let last = performance.now(); frames.length < 30; ) {
            const now = await new Promise(requestAnimationFrame);
            frames.push(now - last);
            last = now;
        }
        return [Math.max(...frames), performance.memory.usedJSHeapSize];
    """
    slowest, heap = await page.run(script)
    assert slowest < 5_000
    assert heap < 150e6
    await press(page, "Control+c")
    await write(page, "clear; echo do''ne\n")
    await shows(page, "done")


async def test_the_keyboard_leaves_the_terminal_and_comes_back(page: Page) -> None:
    assert "Ctrl+F6" in await page.run("return document.getElementById('terminal-help').textContent")
    for leave in ("Control+Shift+Escape", "Control+F6"):
        await press(page, "Tab")
        assert await page.run("return document.activeElement.className.includes('xterm')")
        await press(page, leave)
        assert await page.run("return document.activeElement.dataset.action") == "start"
        await tab_to(page, ".xterm-helper-textarea")


async def test_a_session_outlives_its_tab_and_can_be_started_again(page: Page) -> None:
    await write(page, "KEPT=kept; cd /\n")
    await click(page, "#tab-files")
    await page.until("return Boolean(document.querySelector('.files-table tbody tr'))")
    await click(page, "[data-view=jobs]")
    await page.run("history.back()")
    await click(page, "#tab-terminal")
    await click(page, ".terminal-screen")
    await write(page, "echo $KEPT $PWD\n")
    await shows(page, "kept /")
    await write(page, "exit 7\n")
    await status(page, "exit code 7")
    assert await axe_findings(page) == []
    assert await page.run("return document.activeElement.dataset.action") == "start"
    await press(page, "Enter")
    await status(page, "Running")
    await write(page, "echo [$KEPT]\n")
    await shows(page, "[]")


async def test_text_is_copied_and_pasted(page: Page, chromium: Browser, site: DashboardSite) -> None:
    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    await chromium.call("Browser.grantPermissions", permissions=permissions, origin=site.origin)
    await page.run("await navigator.clipboard.writeText('echo a pasted line')")
    await click(page, "[data-action=paste]")
    await write(page, "\n")
    await shows(page, "> echo a pasted line")
    await write(page, "clear; echo a-wo''rd\n")
    script = """
        const rows = [...document.querySelector(".xterm-rows").children];
        const row = rows.find(each => each.textContent.trim() === "a-word");
        const box = row?.getBoundingClientRect();
        return row && [box.x + 12, box.y + box.height / 2];
    """
    x, y = await page.until(script)
    for count in (1, 2):
        for kind in ("mousePressed", "mouseReleased"):
            await page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count)
    await press(page, "Control+Shift+c")
    await page.until("return (await navigator.clipboard.readText()).trim() === 'a-word'")


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_it_is_accessible_in_both_themes(page: Page, theme: str) -> None:
    await page.run(f"window.pagentTheme.choice = {theme!r}")
    await page.run("const box = document.querySelector('[name=screen-reader]'); if (!box.checked) box.click()")
    await page.until("return Boolean(document.querySelector('.xterm-accessibility'))")
    assert await axe_findings(page) == []
    await resize(page, PHONE)
    assert await axe_findings(page) == []
    await click(page, "input[name=screen-reader]")


async def test_hostile_output_changes_nothing_around_the_terminal(page: Page) -> None:
    title = await page.run("return document.title")
    await write(page, "printf '\\033]0;title\\007\\033]8;;javascript:canary()\\007link\\033]8;;\\007<img src=x>\\n'\n")
    await shows(page, "link<img src=x>")
    assert await page.run("return document.title") == title
    assert await page.run("return document.querySelectorAll('.terminal img').length") == 0


async def test_a_job_without_a_shell_and_a_program_of_it(site: DashboardSite, chromium: Browser) -> None:
    uid = await site.create("no shell", None)
    start = {"args": ["/bin/sleep", "600"], "env": {"PATH": "/none"}, "port_expected_count": 0}
    assert (await site.ask("POST", f"jobs/{uid}/start", start)).status == 200
    page = await site.open(chromium, "jobs", uid, "terminal")
    await status(page, "no shell, name another program")
    await tab_to(page, "input[name=program]")
    await write(page, "/bin/echo 'two words'\n")
    await status(page, "exit code 0")
    await shows(page, "two words")


async def test_without_a_token_there_is_no_terminal(site: DashboardSite, chromium: Browser, uid: str) -> None:
    page = await site.open(chromium, "jobs", uid, "terminal", token=False)
    await page.until("return document.getElementById('main').innerText.includes('needs a token with the scope “exec”')")
    assert not await page.run("return document.querySelectorAll('.xterm').length")
    for tab in ("terminal", "files"):
        await click(page, f"#tab-{tab}")
        await click(page, f"[data-panel={tab}] [data-action=token]")
        await page.until("return Boolean(document.querySelector('dialog[open] #token'))")
        await press(page, "Escape")


async def test_a_pasted_text_cannot_end_its_own_paste(page: Page) -> None:
    await write(page, "clear; cat -v\n")
    await page.until(f"return {SCREEN}.trim() === ''")
    script = """
        const data = new DataTransfer();
        data.setData("text/plain", "one\\u001b[201~two\\u0003\\u009b31mthree");
        const event = new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true});
        document.querySelector(".xterm-helper-textarea").dispatchEvent(event);
    """
    await page.run(script)
    await write(page, "\n")
    await shows(page, "one[201~two31mthree")
    assert "^[" not in await page.run(f"return {SCREEN}")
    await press(page, "Control+c")


async def test_a_connection_that_may_be_dead_is_used(site: DashboardSite, chromium: Browser, uid: str) -> None:
    page = await site.open(chromium)
    script = """
        const { Api } = await import("./api.js");
        const { mountTerminal } = await import("./terminal.js");
        window.api = new Api(new URL(".", location.href.split("#")[0]));
        await api.identify();
        const place = document.createElement("div");
        document.body.append(place);
        mountTerminal(place, await api.get("jobs/UID"), api);
    """
    await page.run(script.replace("UID", uid))
    await status(page, "Running")
    before = len(resizes(page))
    await page.run("api.dispatchEvent(new Event('lost'))")
    async with asyncio.timeout(PATIENCE_S):
        while len(resizes(page)) == before:  # noqa: ASYNC110 - events come in one task
            await asyncio.sleep(0.02)


def resizes(page: Page) -> list[str]:
    """Return the messages with a size that the page has sent."""
    sent = [each["response"]["payloadData"] for each in page.events("Network.webSocketFrameSent")]
    return [text for text in sent if "resize" in text]
