"""A job whose file system hangs, beside others: it is simulated by work that does not return."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pagent import limits
from pagent.agent import Agent
from pagent.jobs.openat_beneath import openat_beneath
from pagent.jobs.sandbox import Sandbox
from tests.kit.peer import ISTREAM, PATIENCE_S, UNARY, CallFailed, Peer
from tests.kit.transfers import download, new_job


class Hanging:
    """Opens paths below sandboxes. Below ``dead`` it hangs, as a mount whose server does not answer does."""

    def __init__(self) -> None:
        self.dead = ""
        self._back = threading.Event()

    def open(self, folder: int, path: str, flags: int, mode: int = 0) -> int:
        if self.dead and path.startswith(self.dead):
            self._back.wait(60)
        return openat_beneath(folder, path, flags, mode)

    def come_back(self) -> None:
        self._back.set()


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    hanging = Hanging()
    create = Sandbox.create

    def created(root: Path, uid: str) -> Sandbox:
        return create(root, uid, opener=hanging.open)

    monkeypatch.setattr(Sandbox, "create", created)
    yield hanging
    hanging.come_back()


async def test_a_download_that_hangs_blocks_no_other_job(
    agent: Agent, peer: Peer, mount: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pagent.runtime.threads.THREAD_PATIENCE_S", 0.05)
    jobs = [await new_job(peer, agent) for _ in range(8)]
    for _, sandbox in jobs:
        (sandbox / "dead").write_bytes(b"never")
        (sandbox / "file").write_bytes(b"read")
    mount.dead = "dead"
    for job, _ in jobs[:7]:  # more jobs than there are threads
        for _ in range(3):
            await peer.start(ISTREAM, "file_download", job, "dead")
    assert (await download(peer, jobs[7][0], "file")).data == b"read"


async def test_a_call_that_hangs_fails_after_a_limit_and_its_thread_is_replaced(
    agent: Agent, peer: Peer, mount: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DISK_ANSWER_S", 0.2)
    job, sandbox = await new_job(peer, agent)
    (sandbox / "dead").write_bytes(b"alive again")
    (sandbox / "file").write_bytes(b"read")
    mount.dead = "dead"
    for start in [
        await peer.start(ISTREAM, "file_download", job, "dead"),
        await peer.start(UNARY, "file_stat", job, "dead", sha256=True),
    ]:
        with pytest.raises(CallFailed, match=r"gave no answer within 0\.2 s") as caught:
            await peer.outcome(start)
        assert caught.value.cause == "StuckError"
    monkeypatch.setattr(limits, "DISK_ANSWER_S", PATIENCE_S)  # a slow disk may take more than 0.2 s
    assert (await download(peer, job, "file")).data == b"read"
    mount.dead = ""
    assert (await download(peer, job, "dead")).data == b"alive again"
