"""The info of a job whose agent has no link to the router: the one that was last known."""

from __future__ import annotations

from typing import Any

import pytest

from pagent.cli.jobs.manage_work import print_job
from pagent.client import AgentClient, RemoteJob

INFO = {"uid": "1234" * 8, "name": "away", "state": "UNREACHABLE", "exit_code": None, "signal": None, "error": None}


class AwayClient(AgentClient):
    """A router that lists one job, and cannot ask its agent."""

    def __init__(self) -> None:
        link: Any = None
        super().__init__(link)

    async def jobs(self) -> list[RemoteJob]:
        link: Any = None
        return [RemoteJob(link, INFO)]

    async def ended_jobs(self) -> list[dict[str, Any]]:
        return []


@pytest.mark.parametrize("name", ["away", "1234", INFO["uid"]])
async def test_an_unreachable_job_is_printed_as_it_was_last_known(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert await print_job(AwayClient(), name, as_json=False) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.partition(":")[2].strip() for line in lines][:3] == [INFO["uid"], "away", "UNREACHABLE"]
    assert lines[3].startswith("reason:    not known: its agent has no link to the router; ")
