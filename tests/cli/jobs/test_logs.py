"""``pagent logs -f`` ends once its output has no place to go, with an agent and with a router."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pagent.cli.jobs import logs_work
from pagent.client import RemoteJob
from pagent.errors import MethodError
from tests.cli.commands import Outcome, command
from tests.kit.remotes import RemoteProcess

#: Generous: such a command ends with the next line of the job.
_PATIENCE_S = 60

#: A job that writes to its standard output alone, so that the other output is followed without end.
_WRITES = "while :; do echo line; sleep 0.1; done"


@pytest.fixture(params=["broken pipe", "full disk"])
def unwritable(request: pytest.FixtureRequest) -> Iterator[int]:
    """A descriptor to which nothing can be written."""
    if request.param == "broken pipe":
        reader, descriptor = os.pipe()
        os.close(reader)
    else:
        descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@contextmanager
def writing_job(pagent: Callable[..., Outcome]) -> Iterator[str]:
    uid = pagent("start", "--", "sh", "-c", _WRITES).stdout.strip()
    yield uid
    pagent("rm", "-f", uid)


def test_following_ends_with_the_first_output_that_cannot_be_written(
    place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str], unwritable: int
) -> None:
    with writing_job(command(place, tmp_path, capfd)) as uid:
        ended = subprocess.run(
            [sys.executable, "-m", "pagent", "logs", "-f", *place.options, uid],
            stdout=unwritable,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    if ended.returncode == 0:
        assert ended.stderr == ""  # a broken pipe: its reader wants no more
    else:
        assert ended.returncode == 1
        assert ended.stderr.startswith("pagent: stdout cannot be written: No space left on device (pagent help disk-")


class _LosingJob(RemoteJob):
    """A job of whose outputs each has two lines, and whose router loses the agent between them."""

    def __init__(self) -> None:
        link: Any = SimpleNamespace(peer=None)
        super().__init__(link, {"uid": "u", "name": "job"})

    def logs(self, stream: str = "stdout", *, offset: int = 0, follow: bool = False, since: float | None = None) -> Any:
        async def chunks() -> AsyncIterator[bytes]:
            if offset == 0:
                yield b"one\n"
                raise MethodError("LinkClosedError: of the router", "LinkClosedError", "of the router")
            yield b"two\n"

        return chunks()

    async def info(self) -> dict[str, Any]:
        return {}


async def test_following_continues_after_a_router_has_lost_the_agent(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def find_job(client: object, name: str) -> RemoteJob:
        return _LosingJob()

    monkeypatch.setattr(logs_work, "find_job", find_job)
    client: Any = None
    assert await logs_work.print_logs(client, "job", logs_work.LogChoice(follow=True)) == 0
    stdout, stderr = capfd.readouterr()
    assert stdout == "one\ntwo\n"
    lines = stderr.splitlines()
    assert [line for line in lines if not line.startswith("pagent:")] == ["one", "two"]
    assert (
        lines.count("pagent: the router has no link to the agent; it is waited for") == 1
    )  # once, though both outputs lose it
