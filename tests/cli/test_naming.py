"""Which job an argument names; the info of a job whose agent has no link to the router."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.cli.jobs.manage_work import print_job
from pagent.cli.naming import matching
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


UIDS = st.text("0123456789abcdef", min_size=32, max_size=32)


def named(uid: str, name: str = "") -> dict[str, Any]:
    return {"uid": uid, "name": name}


@given(UIDS, st.integers(0, 32))
def test_at_least_four_digits_of_a_uid_name_its_job(uid: str, digits: int) -> None:
    assert bool(matching([named(uid)], uid[:digits])) is (digits >= 4 or digits == 0)


@pytest.mark.parametrize("text", ["ABCD", "abcd\n", " abcd", "abcd*", "abcdg", "ab.d", "a" * 33])
def test_what_is_no_part_of_a_uid_is_a_name(text: str) -> None:
    assert matching([named("abcd" + "a" * 28), named("a" * 32)], text) == []
    info = named("0" * 32, text)
    assert matching([named("abcd" + "a" * 28), info], text) == [info]


def test_a_name_that_looks_like_a_uid_names_both_jobs() -> None:
    infos = [named("cafe" + "0" * 28), named("1" * 32, "cafe")]
    assert matching(infos, "cafe") == infos
