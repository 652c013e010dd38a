"""``pagent open``: by a ticket of a router, or by a forwarded port."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pagent.client import connect_agent
from pagent.config.model import Settings
from tests.cli.commands import outcome_of
from tests.kit.agents import TOKEN, with_token
from tests.kit.commands import get, pagent
from tests.kit.programs import ECHO
from tests.kit.remotes import RemoteProcess
from tests.kit.tickets import Person, ticket_site


async def test_a_router_makes_a_ticket(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "here").mkdir()
    async with ticket_site(settings) as site:
        options = ["--agent", f"127.0.0.1:{site.router.control_port}", *with_token(tmp_path), site.jobs[0]]
        with pagent(tmp_path / "here", "open", "--print", *options, url=False) as running:
            code, url, stderr = await asyncio.to_thread(running.ended)
        assert (code, stderr) == (0, "")
        assert urlsplit(url).path == "/.pagent/enter"
        person = Person(urlsplit(url).port or 0)
        assert (await person.post(url.strip())).status == 303


async def test_the_time_in_which_a_ticket_can_be_opened(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "here").mkdir()
    async with ticket_site(settings) as site:
        options = ["--agent", f"127.0.0.1:{site.router.control_port}", *with_token(tmp_path), site.jobs[0]]
        with pagent(tmp_path / "here", "open", "--print", "--within", "2h", *options, url=False) as running:
            assert (await asyncio.to_thread(running.ended))[0] == 0


def test_a_wrong_time(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for word, fault in (("soon", "is not a length of time"), ("0s", "up to 24h"), ("24h1s", "up to 24h")):
        done = outcome_of(capfd, tmp_path, ["open", "--within", word, "job"])
        assert (done.code, fault in done.stderr) == (2, True)


async def test_a_job_of_an_agent_is_forwarded(place: RemoteProcess, tmp_path: Path) -> None:
    """The router of the fixture has no apps listener."""
    (tmp_path / "here").mkdir()
    async with connect_agent(place.address, token=TOKEN) as client:
        job = await client.create_job("echo")
        info = await job.start([sys.executable, "-c", ECHO, "{port}"], port="auto", ready="connect")
        with pagent(tmp_path / "here", "open", "--print", *place.options, job.uid, str(info["ports"][0])) as running:
            assert running.process.stdout is not None
            url = await asyncio.to_thread(running.process.stdout.readline)
            assert url == f"{running.url}\n"
            assert (await asyncio.to_thread(get, running.url)).startswith(b"GET / HTTP/1.1")
            running.ctrl_c()
            assert (await asyncio.to_thread(running.ended))[0] == 130
        await job.remove()


@pytest.mark.parametrize(
    ("job", "port", "code", "words"), [("no-such-job", [], 3, "is not found"), ("idle", [], 1, "does not run: NEW")]
)
async def test_failures(place: RemoteProcess, tmp_path: Path, job: str, port: list[str], code: int, words: str) -> None:
    (tmp_path / "here").mkdir()
    async with connect_agent(place.address, token=TOKEN) as client:
        idle = await client.create_job("idle")
        with pagent(tmp_path / "here", "open", *place.options, job, *port, url=False) as running:
            outcome = await asyncio.to_thread(running.ended)
        await idle.remove()
    assert (outcome[0], outcome[1]) == (code, "")
    assert re.search(words, outcome[2])
