"""Transfers of files and archives as a router of the field makes them, message by message."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pagent.agent import Agent
from tests.kit.peer import ISTREAM, OSTREAM, PATIENCE_S, Peer


class Sent(NamedTuple):
    """A download: the announced size, the chunks in their order, the result."""

    size: int
    chunks: list[bytes]
    result: int

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks)


async def send(peer: Peer, method: str, pieces: Iterable[bytes], *args: Any, **kwargs: Any) -> Any:
    """An ostream call to its end: CALL_START, messages, REQUEST_STREAM_CLOSE; its result. CallFailed."""
    call = await peer.start(OSTREAM, method, *args, **kwargs)
    for piece in pieces:
        await peer.data(call, piece)
    await peer.end(call)
    values, result = await peer.outcome(call)
    assert values == []
    return result


async def upload(peer: Peer, job: str, path: str, *pieces: bytes, **options: Any) -> int:
    count: int = await send(peer, "file_upload", pieces, job, path, **options)
    return count


async def fetch(peer: Peer, method: str, *args: Any, **kwargs: Any) -> Sent:
    """An istream call to its end, with all that the contract says of one. CallFailed."""
    call = await peer.start(ISTREAM, method, *args, **kwargs)
    values, result = await peer.outcome(call)
    head, *chunks = values
    assert head.keys() == {"size"}
    sent = Sent(head["size"], chunks, result)
    assert all(type(chunk) is bytes for chunk in chunks)
    assert len(sent.data) == sent.size == sent.result
    return sent


async def download(peer: Peer, job: str, path: str, **options: Any) -> Sent:
    return await fetch(peer, "file_download", job, path, **options)


async def new_job(peer: Peer, agent: Agent, **options: Any) -> tuple[str, Path]:
    """A job that has not been started: its uid, and where its sandbox is."""
    uid: str = (await peer.call("job_create", "files", **options))["uid"]
    return uid, sandbox_of(agent, uid)


def sandbox_of(agent: Agent, uid: str) -> Path:
    return next(job.sandbox.path for job in agent.jobs.jobs() if job.uid == uid)


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait for a condition without an event: the state of a disk, or of a process."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def spooled(folder: Path) -> int:
    """Bytes of files below a folder that this process, which is the agent's, has open and that have no name."""
    total = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            path = entry.readlink()
            if path.is_relative_to(folder) and path.name.endswith(" (deleted)"):
                total += entry.stat().st_size
        except OSError:
            continue
    return total


def unfinished(sandbox: Path) -> dict[str, int]:
    """Files of the agent's own below a folder, by name, with their sizes."""
    found = (Path(folder, name) for folder, _, names in os.walk(sandbox) for name in names if ".pagent-" in name)
    return {path.name: path.stat().st_size for path in found}
