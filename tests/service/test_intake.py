"""The way of a stream into an upload: the data that waits for a slow disk, and its place."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pagent import limits
from pagent.agent import Agent
from pagent.errors import CallCancelledError
from pagent.files import newfile
from pagent.jobs.sandbox import Sandbox
from pagent.service.intake import Intake
from tests.kit.peer import OSTREAM, Peer
from tests.kit.transfers import eventually, new_job, send, upload

MIB = 1024 * 1024


class Fakes:
    """A call with its stream, and an upload; they only record the calls of their methods."""

    def __init__(self, *, flow: bool = False) -> None:
        # the stream
        self.held = False
        self.kept: list[Any] = []
        # the upload
        self.pending = 0
        self.error: BaseException | None = None
        self.on_progress: Callable[[], None] | None = None
        self.taken: list[bytes] = []
        self.call: Any = SimpleNamespace(stream=self, connection=SimpleNamespace(flow=flow, holes=flow))
        self.intake = Intake(self.call, self)  # type: ignore[arg-type]
        self.finished = asyncio.ensure_future(self.intake.finished())

    def attach(self, receiver: Any, *, splits: bool = False) -> None:
        assert self.held is False

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False
        while self.kept and not self.held:
            self.intake.stream_message(self.kept.pop(0))

    def put(self, data: bytes) -> int:
        self.taken.append(data)
        self.pending += len(data)
        return self.pending

    @property
    def buffered(self) -> int:
        return self.pending

    def written(self, size: int) -> None:
        self.pending -= size
        assert self.on_progress is not None
        self.on_progress()


@pytest.mark.parametrize("flow", [False, True])
async def test_a_stream_is_held_until_half_of_it_is_written(flow: bool) -> None:
    fakes = Fakes(flow=flow)
    half = limits.UPLOAD_PENDING_MAX // 2
    fakes.intake.stream_message(bytes(half))
    assert not fakes.held
    fakes.intake.stream_message(bytes(half))
    assert fakes.held
    fakes.kept = [bytes(limits.UPLOAD_PENDING_MAX), b"last"]
    fakes.written(half - 1)
    assert fakes.held
    fakes.written(1)
    assert fakes.held, "held again by the first of the kept messages"
    assert fakes.kept == [b"last"]
    fakes.written(limits.UPLOAD_PENDING_MAX)
    assert not fakes.held
    fakes.intake.stream_closed()
    await fakes.finished
    assert len(fakes.taken) == 4


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), None])
async def test_an_error_of_the_disk_or_the_loss_of_the_link_ends_it(error: OSError | None) -> None:
    fakes = Fakes()
    fakes.intake.stream_message(bytes(limits.UPLOAD_PENDING_MAX))
    if error is None:
        fakes.intake.stream_lost("the link is gone")
    else:
        fakes.error = error
        fakes.written(0)
    fakes.intake.stream_message(b"more")
    assert len(fakes.taken) == 1
    with pytest.raises(CallCancelledError if error is None else OSError):
        await fakes.finished
    assert fakes.on_progress is None


async def test_after_cancellation_it_gets_no_more_progress() -> None:
    fakes = Fakes()
    await asyncio.sleep(0)
    fakes.intake.stream_message(bytes(limits.UPLOAD_PENDING_MAX))
    fakes.finished.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fakes.finished
    assert fakes.on_progress is None


async def test_a_message_that_is_not_data_ends_it() -> None:
    fakes = Fakes()
    fakes.intake.stream_message("text")
    with pytest.raises(ValueError, match="not as str"):
        await fakes.finished
    assert fakes.taken == []


async def test_a_stalled_disk_does_not_delay_other_calls(agent: Agent, peer: Peer) -> None:
    job, sandbox = await new_job(peer, agent)
    call = await peer.start(OSTREAM, "file_upload", job, "large")
    await eventually(lambda: list(sandbox.iterdir()))  # opened; now the disk stalls
    free = threading.Event()
    agent.disk.of(agent.jobs.jobs()[0]).submit(free.wait)
    try:
        for _ in range(24):
            await peer.data(call, bytes(MIB))
        assert (await peer.call("job_info", job))["uid"] == job
        [unfinished] = sandbox.iterdir()
        assert unfinished.stat().st_size == 0
    finally:
        free.set()
    await peer.end(call)
    assert await peer.outcome(call) == ([], 24 * MIB)
    assert (sandbox / "large").stat().st_size == 24 * MIB


class SlowDisk:
    """A disk that writes uploads at ``rate`` bytes a second. It records the spool files that are opened meanwhile."""

    def spooled(self) -> int:
        """Return the bytes that went to spool files."""
        return sum(os.fstat(file).st_size for file in self.files)

    def close(self) -> None:
        while self.files:
            os.close(self.files.pop())

    def __init__(self, patch: pytest.MonkeyPatch, rate: float) -> None:
        self.files: list[int] = []
        self._rate = rate
        self._writev = newfile.writev
        self.open_spool = Sandbox.open_spool
        patch.setattr(newfile, "writev", self._write)
        disk = self

        def open_spool(sandbox: Sandbox) -> int:
            file: int = disk.open_spool(sandbox)
            disk.files.append(os.dup(file))
            return file

        patch.setattr(Sandbox, "open_spool", open_spool)

    def _write(self, file: int, parts: list[Any]) -> int:
        done = self._writev(file, parts)
        time.sleep(done / self._rate)
        return done


@pytest.mark.parametrize("method", ["file_upload", "archive_upload"])
@pytest.mark.parametrize(
    ("piece", "mb_a_second"),
    [(64 << 10, 25), (256 << 10, 50), (1 << 20, 25), (1 << 20, 150), (4 << 20, 150)],
    ids=["64 KiB", "256 KiB", "1 MiB", "1 MiB, fast", "4 MiB, fast"],
)
async def test_an_upload_is_written_once_by_a_slow_disk(
    agent: Agent, peer: Peer, monkeypatch: pytest.MonkeyPatch, method: str, piece: int, mb_a_second: int
) -> None:
    job, sandbox = await new_job(peer, agent)
    disk = SlowDisk(monkeypatch, mb_a_second * 1e6)
    size = 24 << 20 if mb_a_second < 100 else 64 << 20
    began = time.monotonic()
    if method == "file_upload":
        assert await upload(peer, job, "large", *[bytes(piece)] * (size // piece)) == size
    else:
        data = tar_of("large", size)
        await send(peer, method, [data[at : at + piece] for at in range(0, len(data), piece)], job)
    assert (sandbox / "large").stat().st_size == size
    spooled = disk.spooled()
    disk.close()
    is_busy = time.monotonic() - began > 1.5 * size / (mb_a_second * 1e6)  # then the disk was slower than that
    assert is_busy or spooled <= size // 4


def tar_of(name: str, size: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = size
        archive.addfile(entry, io.BytesIO(bytes(size)))
    return file.getvalue()
