"""The tab Files of a job: browse, upload, drop, download, delete; hostile names; an upload that was cut off."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.browser.site import DashboardSite, is_live
from tests.kit.browser import Browser, Page
from tests.kit.browser_input import choose_files, click, drop_files, press, tab_to, write
from tests.kit.browser_view import DESKTOP, PHONE, axe_findings, horizontal_overflow, resize
from tests.kit.peer import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = [
    "<img src=x onerror=canary()>",
    "line\nfeed",
    "‮gnp.exe",
    "a#b?c%2fd&e;f",
    "..%2f..%2fx",
    "%2e%2e",
    "back\\slash",
    "-rf *",
    "'\"`$(id)",
    "é̈̈̈̈̈̈",
]

#: Whether a question is open.
ASKED = "return Boolean(document.querySelector('dialog[open] [data-action=confirm]'))"


@pytest_asyncio.fixture(loop_scope="module")
async def uid(site: DashboardSite) -> AsyncIterator[str]:
    made = await site.create("files")
    yield made
    await site.ask("DELETE", f"jobs/{made}")


async def put(site: DashboardSite, uid: str, path: str, data: bytes = b"x") -> None:
    answer = await site.ask("PUT", f"jobs/{uid}/files/{quote(path, safe='')}", data)
    assert answer.status in (200, 201), answer


async def get(site: DashboardSite, uid: str, path: str) -> bytes | None:
    answer = await site.ask("GET", f"jobs/{uid}/files/{quote(path, safe='')}")
    return answer.body if answer.status == 200 else None


async def files_of(site: DashboardSite, chromium: Browser, uid: str, count: int) -> Page:
    """Open the tab, and wait for the number of entries; the two files of output are among them."""
    page = await site.open(chromium, "jobs", uid, "files")
    await entries(page, count)
    return page


async def entries(page: Page, count: int) -> list[str]:
    script = f"""
        const rows = [...document.querySelectorAll(".files-table tbody tr")];
        return rows.length === {count} && rows.map(each => each.dataset.path);
    """
    found: list[str] = await page.until(script)
    return found


async def first_is(page: Page, path: str) -> None:
    await page.until(f"return document.querySelector('.files-table tbody tr')?.dataset.path === {path!r}")


def has(text: str) -> str:
    return f"return document.querySelector('.transfers')?.innerText.includes({text!r})"


async def downloads_to(page: Page, folder: Path) -> None:
    await page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder), eventsEnabled=True)


async def downloaded(path: Path) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(path.exists):  # noqa: ASYNC110 - the browser renames it when it is whole
            await asyncio.sleep(0.02)
    return await asyncio.to_thread(path.read_bytes)


async def test_folders_are_browsed_and_text_is_previewed(site: DashboardSite, chromium: Browser, uid: str) -> None:
    await put(site, uid, "sub/deep/notes.txt", b"one\ttwo\n<b>three</b>\n\xe2\x80\xaefour\n")
    await put(site, uid, "large.bin", bytes(100_000))
    page = await files_of(site, chromium, uid, 4)
    await click(page, "tr[data-path=sub] button.file-name")
    await first_is(page, "sub/deep")
    await click(page, "tr[data-path='sub/deep'] button.file-name")
    await first_is(page, "sub/deep/notes.txt")
    await click(page, "tr button.file-name")
    text = await page.until("return document.querySelector('dialog .preview-text')?.textContent")
    assert text == "one\ttwo\n<b>three</b>\n⟨U+202E⟩four\n"
    await press(page, "Escape")
    await click(page, ".files-crumbs li:first-child button")
    await entries(page, 4)
    await click(page, "tr[data-path='large.bin'] button.file-name")
    assert "not text" in await page.until("return document.querySelector('dialog .preview')?.innerText")


async def test_entries_are_sorted_and_come_in_pages(site: DashboardSite, chromium: Browser, uid: str) -> None:
    folder = site.folder(uid) / "many"
    folder.mkdir()
    for number in range(700):
        (folder / f"{number}.txt").write_bytes(b"x" * number)
    page = await files_of(site, chromium, uid, 3)
    await click(page, "tr[data-path=many] button.file-name")
    await entries(page, 500)
    assert "500 of more than 500" in await page.run("return document.querySelector('.files-status').textContent")
    await click(page, "th.size button")
    await first_is(page, "many/699.txt")
    await click(page, "[data-action=more]")
    assert (await entries(page, 700))[-1] == "many/0.txt"
    await click(page, "th.name button")
    await first_is(page, "many/0.txt")
    assert (await entries(page, 700))[:3] == ["many/0.txt", "many/1.txt", "many/2.txt"]


async def test_files_are_chosen_and_a_folder_is_dropped(
    site: DashboardSite, chromium: Browser, uid: str, tmp_path: Path
) -> None:
    page = await files_of(site, chromium, uid, 2)
    chosen = [tmp_path / name for name in ("one.txt", "two #1.bin")]
    for number, path in enumerate(chosen):
        path.write_bytes(os.urandom(1000) * (number + 1))
    await choose_files(page, "input[name=files]", chosen)
    await entries(page, 4)
    for path in chosen:
        assert await get(site, uid, path.name) == path.read_bytes()
    tree = tmp_path / "tree"
    for number in range(110):
        path = tree / f"f{number % 3}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    await drop_files(page, ".files-table", [tree])
    await page.until(has("110 files uploaded"))
    await entries(page, 5)
    assert await get(site, uid, "tree/f1/100.txt") == b"100"


async def test_a_file_is_replaced_only_when_the_person_agrees(
    site: DashboardSite, chromium: Browser, uid: str, tmp_path: Path
) -> None:
    await put(site, uid, "same.txt", b"old")
    page = await files_of(site, chromium, uid, 3)
    file = tmp_path / "same.txt"
    file.write_bytes(b"new")
    await choose_files(page, "input[name=files]", [file])
    await page.until("return document.querySelector('dialog .dialog-subject')?.textContent === 'same.txt'")
    await press(page, "Escape")
    await page.until(has("1 skipped"))
    assert await get(site, uid, "same.txt") == b"old"
    await choose_files(page, "input[name=files]", [file])
    await page.until("return document.querySelector('dialog .dialog-subject')?.textContent === 'same.txt'")
    # It changes while the question is open: the answer was for another version, so it is asked again.
    await put(site, uid, "same.txt", b"newer")
    await page.run("window.asked = document.querySelector('dialog')")
    await tab_to(page, "dialog [data-action=confirm]")
    await press(page, "Enter")
    await page.until(f"return window.asked !== document.querySelector('dialog') && {ASKED.removeprefix('return ')}")
    await tab_to(page, "dialog [data-action=confirm]")
    await press(page, "Enter")
    await page.until(has("1 file uploaded"))
    assert await get(site, uid, "same.txt") == b"new"


async def test_a_large_upload_goes_on_where_it_was_cut_off(
    site: DashboardSite, chromium: Browser, uid: str, tmp_path: Path
) -> None:
    file = tmp_path / "large.bin"
    file.write_bytes(os.urandom(6_000_000))
    page = await files_of(site, chromium, uid, 2)
    kept = await site.keep_part(uid, "large.bin", file.read_bytes()[:2_500_000])
    await choose_files(page, "input[name=files]", [file])
    await page.until(has("1 file uploaded"))
    queries = [each["request"]["url"] for each in page.events("Network.requestWillBeSent")]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert any(f"offset={kept}" in url and f"sha256={digest}" in url for url in queries)
    assert await get(site, uid, "large.bin") == file.read_bytes()
    # What is kept is of another file: the digest differs, and all of it is sent.
    await site.keep_part(uid, "other.bin", bytes(1_000_000))
    other = file.rename(tmp_path / "other.bin")
    await choose_files(page, "input[name=files]", [other])
    await page.until(
        "return document.querySelectorAll('.transfer').length === 2"
        " && document.querySelectorAll('.transfer')[1].innerText.includes('1 file uploaded')"
    )
    assert await get(site, uid, "other.bin") == other.read_bytes()


async def test_files_and_folders_are_downloaded(
    site: DashboardSite, chromium: Browser, uid: str, tmp_path: Path
) -> None:
    data = os.urandom(3_000_000)
    await put(site, uid, "data [1].bin", data)
    await put(site, uid, "in [1]/x.txt", b"inside")
    page = await files_of(site, chromium, uid, 4)
    await downloads_to(page, tmp_path / "saved")
    await click(page, "tr[data-path='data [1].bin'] [data-action=download]")
    assert await downloaded(tmp_path / "saved" / "data [1].bin") == data
    await click(page, "tr[data-path='in [1]'] [data-action=archive]")
    archive = await downloaded(tmp_path / "saved" / "in [1].tar")
    assert b"in [1]/x.txt" in archive
    assert b"data" not in archive
    urls = [each["request"]["url"] for each in page.events("Network.requestWillBeSent")]
    assert not [url for url in urls if site.token in url and "#token=" not in url]


async def test_a_file_is_deleted_by_keyboard_and_not_if_it_has_changed(
    site: DashboardSite, chromium: Browser, uid: str
) -> None:
    await put(site, uid, "gone.txt")
    page = await files_of(site, chromium, uid, 3)
    for step in ("changed", "deleted"):
        await tab_to(page, "tr[data-path='gone.txt'] [data-action=delete]")
        await press(page, "Enter")
        await page.until(ASKED)
        if step == "changed":
            await put(site, uid, "gone.txt", b"more")
        await tab_to(page, "dialog [data-action=confirm]")
        await press(page, "Enter")
        if step == "changed":
            await page.until("return document.getElementById('toasts').innerText.includes('has changed')")
            await entries(page, 3)
    await entries(page, 2)
    # The focus is where the row was.
    await page.until("return document.activeElement.dataset.action === 'delete'")
    assert await get(site, uid, "gone.txt") is None


async def test_hostile_names_are_text_and_arrive_as_they_are(
    site: DashboardSite, chromium: Browser, uid: str, tmp_path: Path
) -> None:
    folder = site.folder(uid)
    for number, name in enumerate(HOSTILE):
        (folder / name).write_text(str(number))
    (folder / os.fsdecode(b"\xff\xfe")).write_text("bytes")
    page = await files_of(site, chromium, uid, len(HOSTILE) + 3)
    await page.run("window.canary = () => { window.sang = true }")
    assert await page.run("return document.querySelectorAll('.files-table img').length") == 0
    assert await page.run("return !document.querySelector('.files-table').textContent.includes('\\u202e')")
    await downloads_to(page, tmp_path / "saved")
    count = len(HOSTILE) + 1
    await page.run("document.querySelectorAll('[data-action=download]').forEach(each => each.click())")
    await page.until(f"return [...document.querySelectorAll('.transfer')].length === {count + 2}")
    await page.until(
        "return [...document.querySelectorAll('.transfer')].every(each => /Downloaded/.test(each.innerText))"
    )
    # Each is deleted, one by one, and nothing other than it.
    for name in ("..%2f..%2fx", "%2e%2e", "line\nfeed", "a#b?c%2fd&e;f"):
        script = f"""
            const row = [...document.querySelectorAll("tr")].find(each => each.dataset.path === {name!r});
            row.querySelector("[data-action=delete]").click();
        """
        await page.run(script)
        await page.until(ASKED)
        await page.run("document.querySelector('dialog [data-action=confirm]').click()")
        await page.until("return !document.querySelector('dialog')")
        async with asyncio.timeout(PATIENCE_S):
            while (folder / name).exists():  # noqa: ASYNC110 - another process deletes it
                await asyncio.sleep(0.02)
    assert (await site.ask("GET", f"jobs/{uid}")).status == 200
    assert not await page.run("return window.sang")


async def test_a_folder_is_made_and_deleted_by_keyboard(site: DashboardSite, chromium: Browser, uid: str) -> None:
    page = await files_of(site, chromium, uid, 2)
    await tab_to(page, "[data-action=new-folder]")
    await press(page, "Enter")
    await page.until("return document.activeElement?.name === 'name'")
    for view in (DESKTOP, PHONE):
        await resize(page, view)
        assert await axe_findings(page) == []
        assert await horizontal_overflow(page) == []
    await write(page, "new \u202e#%2f/below\n")
    await entries(page, 3)
    assert (site.folder(uid) / "new \u202e#%2f" / "below").is_dir()
    await page.until("return document.activeElement?.dataset.action === 'new-folder'")
    await put(site, uid, "new \u202e#%2f/below/file")
    await tab_to(page, "tr[data-type=dir] [data-action=delete]")
    await press(page, "Enter")
    await page.until(ASKED)
    asked = await page.run("return document.querySelector('dialog').innerText")
    assert "all that is in it" in asked
    assert "new ⟨U+202E⟩#%2f" in asked
    await press(page, "Escape")
    await tab_to(page, "tr[data-type=dir] [data-action=delete]")
    await press(page, "Enter")
    await tab_to(page, "dialog [data-action=confirm]")
    await press(page, "Enter")
    await entries(page, 2)
    assert sorted(path.name for path in site.folder(uid).iterdir()) == [".pagent.stderr", ".pagent.stdout"]


async def test_the_address_names_the_folder(site: DashboardSite, chromium: Browser, uid: str) -> None:
    folder = "sub #1?/d%2f\n"
    await put(site, uid, f"{folder}/file.txt")
    page = await files_of(site, chromium, uid, 3)
    await click(page, "tr[data-type=dir] button.file-name")
    await first_is(page, folder)
    await click(page, "tr[data-type=dir] button.file-name")
    await first_is(page, f"{folder}/file.txt")
    # Back, forward, another tab of the job and this one again, and a reload.
    await page.run("history.back()")
    await first_is(page, folder)
    await page.run("history.forward()")
    await first_is(page, f"{folder}/file.txt")
    await click(page, "#tab-summary")
    await click(page, "#tab-files")
    await page.call("Page.reload")
    await is_live(page)
    await first_is(page, f"{folder}/file.txt")
    # The folder goes: the one above it takes its place, also in the address.
    assert (await site.ask("DELETE", f"jobs/{uid}/files/{quote(folder, safe='')}?recursive=1")).status == 204
    await click(page, "[data-action=refresh]")
    await page.until("return document.querySelector('.files-status')?.textContent === 'This folder is empty.'")
    assert await page.run("return location.hash") == site.hash("jobs", uid, "files", "sub #1?")
    for parts, text in (((".",), "This name cannot be"), (("nonesuch",), "3 entries")):
        await page.run(f"location.hash = {site.hash('jobs', uid, 'files', *parts)!r}")
        script = f"return document.querySelector('.files-status')?.textContent.includes({text!r})"
        await page.until(script)
    assert page.events("Runtime.exceptionThrown") == []
