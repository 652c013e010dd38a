"""Take the pictures of the dashboard in the documentation: ``python -m tests.browser.screenshots docs/pictures``."""

from __future__ import annotations

import asyncio
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp

from tests.browser.site import DashboardSite, dashboard_site
from tests.kit.browser import Page, running_browser
from tests.kit.browser_input import click, write
from tests.kit.browser_view import DESKTOP, PHONE, View, picture, resize, set_theme

#: Seconds before the first picture: the plots have a point for each.
_WARM_UP_S: Final = 240
_BUSY: Final = """
import http.server, os, threading, time
class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *args):
        pass
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', '20000')
        self.end_headers()
        self.wfile.write(bytes(20000))
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
step = 0
while True:
    until = time.monotonic() + 0.02
    while time.monotonic() < until:
        pass
    step += 1
    print(f"step {step:5}  loss {3 / (step + 3) + 0.2:.4f}  {step * 32} samples", flush=True)
    time.sleep(0.5)
"""
_JOBS: Final = (
    ("notebook of ann", "physics-1"),
    ("notebook of ben", "physics-1"),
    ("train resnet 18", "vision"),
    ("train resnet 50", "vision"),
    ("tensorboard", "vision"),
    ("climate model, run 12", "earth"),
    ("climate model, run 13", "earth"),
    ("molecule viewer", "chemistry-2"),
    ("rstudio of eve", "statistics"),
    ("streamlit demo", "statistics"),
)
_FAILS: Final = "import sys; print('FileNotFoundError: data/input.csv', file=sys.stderr); sys.exit(1)"


class Picture(NamedTuple):
    """What a picture displays."""

    name: str
    view: View
    theme: str
    parts: tuple[str, ...]


def pictures(uid: str) -> list[Picture]:
    """Return the pictures; ``uid`` is that of the job whose page they display."""
    return [
        Picture("overview-dark", DESKTOP, "dark", ()),
        Picture("jobs-light", DESKTOP, "light", ("jobs",)),
        Picture("terminal-dark", DESKTOP, "dark", ("jobs", uid, "terminal")),
        Picture("files-light", DESKTOP, "light", ("jobs", uid, "files")),
        Picture("phone-jobs-dark", PHONE, "dark", ("jobs",)),
        Picture("phone-log-light", PHONE, "light", ("jobs", uid, "log")),
    ]


async def demonstrate(site: DashboardSite) -> list[str]:
    """Create jobs that serve a page, and one that fails; return the uids of the former."""
    uids = [await site.create(name, _BUSY, listens=True, labels={"course": course}) for name, course in _JOBS]
    await site.create("import of survey", _FAILS, labels={"course": "statistics"})
    for name, size in (("notebook.ipynb", 48_213), ("data/train.parquet", 2_400_000), ("model.pt", 1_100_000)):
        await site.ask("PUT", f"jobs/{uids[2]}/files/{name}", bytes(size))
    return uids


async def visit(site: DashboardSite, uid: str, rate: float) -> None:
    """Make requests to a job, some a second on average, more and fewer in turn."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{site.router.control_port}") as session:
        while True:
            async with session.get(f"/jobs/-/{uid}/http/") as answer:
                await answer.read()
            await asyncio.sleep((1.2 + math.sin(time.monotonic() / 15 + rate)) / rate)


async def take(page: Page, each: Picture, folder: Path) -> None:
    """Display a view, and write its picture."""
    await resize(page, each.view)
    await set_theme(page, each.theme)
    await page.run(f"location.hash = {DashboardSite.hash(*each.parts)!r}")
    if each.parts[-1:] == ("terminal",):
        await page.until("return document.querySelector('.terminal-status')?.textContent === 'Running'")
        await click(page, ".terminal-screen")
        await write(page, "PS1='$ '; clear; ls -l; tail -n 4 .pagent.stdout\n")
    await asyncio.sleep(2)
    await asyncio.to_thread((folder / f"{each.name}.png").write_bytes, await picture(page))


async def main(folder: Path) -> None:
    """Run a site with jobs, and write all pictures."""
    with tempfile.TemporaryDirectory(prefix="pagent-pictures-") as name:
        jobs, profile = Path(name) / "jobs", Path(name) / "profile"
        for each in (jobs, profile, folder):
            await asyncio.to_thread(each.mkdir, parents=True, exist_ok=True)
        async with (
            dashboard_site(jobs, traffic=True) as site,
            running_browser(profile) as browser,
            asyncio.TaskGroup() as users,
        ):
            uids = await demonstrate(site)
            page = await site.open(browser)
            visits = [users.create_task(visit(site, uid, 3.0 + place)) for place, uid in enumerate(uids[:6])]
            await asyncio.sleep(_WARM_UP_S)
            for each in pictures(uids[2]):
                await take(page, each, folder)
            for one in visits:
                one.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
