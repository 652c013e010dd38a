"""``job_run``: the main process of a job, joined to the stream of the call."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pagent.agent import Agent
from tests.jobs.conftest import gone
from tests.kit import peer as peers
from tests.kit.peer import PATIENCE_S, CallFailed, Peer


async def begin(peer: Peer, *args: str, **options: Any) -> tuple[str, int]:
    """Create a job and begin its call; return the uid and the call."""
    uid = str((await peer.call("job_create"))["uid"])
    return uid, await peer.start(peers.BISTREAM, "job_run", uid, list(args), **options)


async def result(peer: Peer, call: int) -> tuple[dict[str, Any], bytes, Any]:
    """Return the first message, all output, and the result."""
    (first, *output), code = await peer.outcome(call)
    return first, b"".join(output), code


async def until(peer: Peer, call: int, wanted: bytes) -> None:
    text = b""
    while wanted not in text:
        message = await peer.next_of(call)
        assert message[0] == 8, message
        text += message[2] if isinstance(message[2], bytes) else b""


async def test_output_exit_code_and_ports(peer: Peer) -> None:
    script = "echo $PORT $PORT_DB $A; echo $0; pwd >&2; exit 3"
    ports = {"port": "auto", "more_ports": {"db": "auto"}}
    uid, call = await begin(peer, "sh", "-c", script, "{port:db}", env={"A": "{port}"}, split=True, **ports)
    first, output, code = await result(peer, call)
    main, more = first["ports"]
    assert output.replace(b"\1", b"").startswith(f"{main} {more} {main}\n{more}\n".encode())
    assert output.endswith(f"/{uid}\n".encode())
    assert code == 3
    info = await peer.call("job_info", uid)
    assert (info["state"], info["exit_code"]) == ("FINISHED", 3)


async def test_input_and_its_end(peer: Peer) -> None:
    _, call = await begin(peer, "cat")
    await peer.data(call, b"word")
    await peer.data(call, b"")
    assert (await result(peer, call))[1:] == (b"word", 0)


async def test_a_terminal_with_its_size(peer: Peer) -> None:
    script = "stty size; read x; stty size; echo $TERM"
    _, call = await begin(peer, "sh", "-c", script, tty=True, rows=30, cols=100)
    await until(peer, call, b"30 100\r\n")
    await peer.data(call, {"resize": [40, 90]})
    await peer.data(call, b"\r")
    await until(peer, call, b"40 90\r\nxterm-256color\r\n")


@pytest.mark.parametrize("tty", [False, True])
async def test_the_end_of_the_call_ends_the_tree(peer: Peer, tty: bool) -> None:
    script = "trap '' HUP; sleep 1000 & echo $! ready; wait"
    uid, call = await begin(peer, "sh", "-c", script, tty=tty)
    await until(peer, call, b"ready")
    pid = (await peer.call("job_info", uid))["pid"]
    await peer.cancel(call)
    async with asyncio.timeout(PATIENCE_S):
        assert (await peer.call("job_wait", uid))["signal"] is not None
    await gone(pid)


async def test_the_end_of_the_job_ends_the_call(peer: Peer) -> None:
    uid, call = await begin(peer, "sleep", "1000")
    assert (await peer.next_of(call))[2]["state"] == "RUNNING"
    await peer.call("job_remove", uid)
    assert (await peer.outcome(call))[1] == -15


@pytest.mark.parametrize(
    ("args", "options", "cause"),
    [
        (["/no/such/program"], {}, "FileNotFoundError"),
        (["true"], {"cwd": "missing"}, "FileNotFoundError"),
        (["true"], {"rows": 0, "tty": True}, "ValueError"),
        (["true"], {"port": 70000}, "ValueError"),
        ([], {}, "ValueError"),
    ],
)
async def test_refused_starts(peer: Peer, args: list[str], options: dict[str, Any], cause: str) -> None:
    _, call = await begin(peer, *args, **options)
    with pytest.raises(CallFailed, match=cause):
        await peer.outcome(call)


async def test_a_second_start_is_refused(peer: Peer, agent: Agent) -> None:
    uid, call = await begin(peer, "cat")
    await peer.next_of(call)
    second = await peer.start(peers.BISTREAM, "job_run", uid, ["true"])
    with pytest.raises(CallFailed, match="JobInvalidStateError"):
        await peer.outcome(second)
    with pytest.raises(CallFailed, match="JobInvalidStateError"):
        await peer.call("job_start", uid, ["true"], None)
    await peer.data(call, b"")
    await peer.outcome(call)
