"""Whether a job may have a port: every case of user, tree and policy."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Sequence

import pytest

from pagent.errors import StuckError
from pagent.jobs import sockets
from pagent.jobs.ownership import Ownership, PortOwnership
from pagent.jobs.ports import ReportError
from pagent.jobs.sockets import ListeningSocket
from pagent.runtime.threads import ThreadPool
from tests.jobs.conftest import PATIENCE_S

USER, OTHER = 1000, 1001
#: Processes: of the job, of another job, of neither.
OWN, FOREIGN, STRANGE = 10, 20, 30


class Table:
    """Sockets by the process that holds each; ``None`` for a process that may not be looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[ListeningSocket] | None = []
        self.denied: set[int] = set()
        monkeypatch.setattr(sockets, "listeners", lambda port: self.found)
        monkeypatch.setattr(sockets, "holds", self._holds)

    def _holds(self, pid: int, found: Sequence[ListeningSocket]) -> bool | None:
        return None if pid in self.denied else any(listener.holder == pid for listener in found)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    return Table(monkeypatch)


def ownership(threads: ThreadPool, policy: Ownership, user: int | None = USER) -> PortOwnership:
    pids = {"job": [OWN], "other": [FOREIGN]}
    return PortOwnership(policy, None if user is None else (user, user), pids.__getitem__, pids.keys(), threads)


ACCEPTED, USER_REFUSED, JOB_REFUSED, NONE_REFUSED = None, "another user", "another job", "no process of the job"
AT = "127.0.0.1"


def listener(holder: int, user: int | None, address: str) -> ListeningSocket:
    return ListeningSocket(holder, user, address, 8080)


@pytest.mark.parametrize(
    ("found", "denied", "off", "warn", "enforce"),
    [
        # its own
        ([listener(OWN, USER, AT)], (), ACCEPTED, ACCEPTED, ACCEPTED),
        ([listener(OWN, 0, AT)], (), ACCEPTED, ACCEPTED, ACCEPTED),
        # it has changed its user
        ([listener(OWN, OTHER, AT)], (), ACCEPTED, ACCEPTED, ACCEPTED),
        # of no job: a container's proxy, systemd's
        ([listener(STRANGE, USER, AT)], (), ACCEPTED, ACCEPTED, NONE_REFUSED),
        ([listener(STRANGE, 0, AT)], (), ACCEPTED, ACCEPTED, NONE_REFUSED),
        ([listener(STRANGE, None, AT)], (), ACCEPTED, ACCEPTED, NONE_REFUSED),
        ([], (), ACCEPTED, ACCEPTED, NONE_REFUSED),
        # another user's
        ([listener(STRANGE, OTHER, AT)], (), USER_REFUSED, USER_REFUSED, USER_REFUSED),
        ([listener(STRANGE, OTHER, AT)], (OWN,), USER_REFUSED, USER_REFUSED, USER_REFUSED),
        # another job's
        ([listener(FOREIGN, USER, AT)], (), JOB_REFUSED, JOB_REFUSED, JOB_REFUSED),
        ([listener(FOREIGN, 0, AT)], (), JOB_REFUSED, JOB_REFUSED, JOB_REFUSED),
        # handed from one job to the other
        ([listener(OWN, USER, AT), listener(FOREIGN, USER, AT)], (), ACCEPTED, ACCEPTED, ACCEPTED),
        # it cannot be known
        (None, (), ACCEPTED, ACCEPTED, ACCEPTED),
        ([listener(STRANGE, USER, AT)], (OWN,), ACCEPTED, ACCEPTED, ACCEPTED),
        ([listener(FOREIGN, USER, AT)], (FOREIGN,), ACCEPTED, ACCEPTED, NONE_REFUSED),
        # connections reach the one of 127.0.0.1
        ([listener(OWN, USER, "::1"), listener(STRANGE, OTHER, AT)], (), USER_REFUSED, USER_REFUSED, USER_REFUSED),
        ([listener(OWN, USER, AT), listener(STRANGE, OTHER, "::1")], (), ACCEPTED, ACCEPTED, ACCEPTED),
        ([listener(STRANGE, OTHER, "::1")], (), USER_REFUSED, USER_REFUSED, USER_REFUSED),
    ],
)
async def test_every_case(
    table: Table,
    threads: ThreadPool,
    found: list[ListeningSocket] | None,
    denied: tuple[int, ...],
    off: str | None,
    warn: str | None,
    enforce: str | None,
) -> None:
    table.found, table.denied = found, set(denied)
    policies: list[tuple[Ownership, str | None]] = [("off", off), ("warn", warn), ("enforce", enforce)]
    for policy, reason in policies:
        checking = ownership(threads, policy).check("job", 80)
        if reason is None:
            await checking
        else:
            with pytest.raises(ReportError, match=f"^bad port: .*{reason}"):
                await checking


async def test_without_a_user_of_their_own_jobs_run_as_the_agent(table: Table, threads: ThreadPool) -> None:
    table.found = [listener(STRANGE, os.geteuid(), AT)]
    await ownership(threads, "warn", None).check("job", 80)
    table.found = [listener(STRANGE, os.geteuid() + 1, AT)]
    with pytest.raises(ReportError, match="another user"):
        await ownership(threads, "warn", None).check("job", 80)


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), StuckError("no answer")])
async def test_what_cannot_be_looked_up_is_accepted_and_logged(
    table: Table, threads: ThreadPool, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(uid: str) -> list[int]:
        raise error

    table.found = [listener(STRANGE, USER, AT)]
    caplog.set_level(logging.WARNING)
    await PortOwnership("enforce", (USER, USER), fail, ["job"], threads).check("job", 80)
    assert "cannot be looked up" in caplog.text


async def test_a_warning_names_job_and_port(
    table: Table, threads: ThreadPool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await ownership(threads, "off").check("job", 4711)
    assert caplog.text == ""
    await ownership(threads, "warn").check("job", 4711)
    assert "job job: no process of it listens on its port 4711" in caplog.text


async def test_a_job_that_asks_again_and_again_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    resumed = threading.Event()

    def slow(port: int) -> list[ListeningSocket]:
        if port == 1:
            resumed.wait(PATIENCE_S)
        return []

    monkeypatch.setattr(sockets, "listeners", slow)
    pool = ThreadPool("test", 2)
    checks = ownership(pool, "off")
    asking = [asyncio.create_task(checks.check("other", 1)) for _ in range(50)]
    await asyncio.sleep(0)  # all of them have begun
    async with asyncio.timeout(PATIENCE_S / 3):
        await checks.check("job", 2)
        assert not any(task.done() for task in asking)
        resumed.set()
        await asyncio.gather(*asking)
    await pool.close(PATIENCE_S)
