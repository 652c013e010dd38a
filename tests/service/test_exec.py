"""``job_exec`` end to end: a second process, with pipes or on a terminal, spliced to a stream."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import pytest

from pagent.agent import Agent
from tests.jobs.conftest import gone
from tests.kit import peer as peers
from tests.kit.agents import TOKEN
from tests.kit.peer import PATIENCE_S, CallFailed, Peer
from tests.kit.transfers import upload

PYTHON = sys.executable


@pytest.fixture
async def job(peer: Peer) -> str:
    """A job that runs on."""
    uid = (await peer.call("job_create"))["uid"]
    await peer.call("job_start", uid, ["sleep", "1000"], None, None, 0)
    return str(uid)


async def execute(peer: Peer, job: str, *args: str, **options: Any) -> int:
    return await peer.start(peers.BISTREAM, "job_exec", job, list(args), **options)


async def result(peer: Peer, call: int) -> tuple[bytes, Any]:
    values, code = await peer.outcome(call)
    return b"".join(values), code


async def until(peer: Peer, call: int, wanted: bytes) -> bytes:
    """Output up to and with some text."""
    text = b""
    while wanted not in text:
        message = await peer.next_of(call)
        assert message[0] == 8, message
        text += message[2]
    return text


async def test_output_and_exit_code(peer: Peer, job: str) -> None:
    call = await execute(peer, job, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert await result(peer, call) == (b"out\nerr\n", 3)


async def test_a_signal_is_a_negative_code(peer: Peer, job: str) -> None:
    assert await result(peer, await execute(peer, job, "sh", "-c", "kill -9 $$")) == (b"", -9)


@pytest.mark.parametrize("how", ["empty", "close"])
async def test_the_end_of_input(peer: Peer, job: str, how: str) -> None:
    call = await execute(peer, job, "cat")
    await peer.data(call, b"one ")
    await peer.data(call, b"two")
    await (peer.data(call, b"") if how == "empty" else peer.end(call))
    assert await result(peer, call) == (b"one two", 0)


async def test_it_runs_in_the_sandbox_with_the_environment(peer: Peer, job: str, agent: Agent) -> None:
    call = await execute(peer, job, "sh", "-c", 'pwd; echo "$GIVEN $PAGENT_JOB_MARK"', env={"GIVEN": "ü"})
    sandbox = next(iter(agent.jobs.jobs())).sandbox.path
    output, code = await result(peer, call)
    assert code == 0
    assert output.decode().splitlines() == [str(sandbox), f"ü {job}"]


async def test_big_output_waits_for_a_slow_reader(agent: Agent, peer: Peer, job: str) -> None:
    size = 20_000_000
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow"]) as slow:
        # Within its credit only: the process waits for more.
        call = await execute(slow, job, PYTHON, "-c", f"import sys; sys.stdout.buffer.write(bytes({size}))")
        received = 0
        while received < size:
            message = await slow.next_of(call)
            assert message[0] == 8
            received += len(message[2])
            await slow.send([10, call, max(64, len(message[2]))])
        assert await result(slow, call) == (b"", 0)
        assert received == size
        assert (await peer.call("job_info", job))["state"] == "RUNNING"


async def test_big_input_and_output(peer: Peer, job: str) -> None:
    call = await execute(peer, job, "cat")
    piece = bytes(range(256)) * 1024
    for _ in range(24):
        await peer.data(call, piece)
    await peer.end(call)
    output, code = await result(peer, call)
    assert code == 0
    assert output == piece * 24


async def test_input_for_one_that_does_not_read(peer: Peer, job: str) -> None:
    call = await execute(peer, job, "sh", "-c", "exec <&-; echo closed; sleep 0.1; exit 5")
    for _ in range(8):
        await peer.data(call, bytes(256 * 1024))
    output, code = await result(peer, call)
    assert (output, code) == (b"closed\n", 5)


async def test_children_that_write_on_do_not_keep_it(peer: Peer, job: str) -> None:
    call = await execute(peer, job, "sh", "-c", "yes & echo $! >&2; exit 0")
    output, code = await result(peer, call)
    assert code == 0
    assert output


async def test_a_terminal(peer: Peer, job: str) -> None:
    script = 'test -t 0 && stty size && tty && echo "$TERM"; read line; echo "<$line>"; stty size'
    call = await execute(peer, job, "sh", "-c", script, tty=True, rows=33, cols=111)
    shown = await until(peer, call, b"xterm-256color\r\n")
    assert b"33 111\r\n/dev/pts/" in shown
    await peer.data(call, {"resize": [44, 99]})
    await peer.data(call, b"typed\n")
    output, code = await result(peer, call)
    assert (output, code) == (b"typed\r\n<typed>\r\n44 99\r\n", 0)


async def test_children_that_keep_the_terminal_do_not_keep_it(peer: Peer, job: str) -> None:
    script = "trap '' HUP; setsid sleep 1000 & sleep 1000 & seq 1000"
    for _ in range(5):
        output, code = await result(peer, await execute(peer, job, "sh", "-c", script, tty=True))
        assert code == 0
        assert output.endswith(b"\r\n999\r\n1000\r\n")


async def test_a_terminal_controls(peer: Peer, job: str) -> None:
    call = await execute(peer, job, "sh", "-c", "trap 'echo interrupted; exit 9' INT; echo here; read x", tty=True)
    await until(peer, call, b"here")
    await peer.data(call, b"\x03")
    output, code = await result(peer, call)
    assert b"interrupted" in output
    assert code == 9


async def test_a_terminal_controls_also_below_an_agent_in_the_background(peer: Peer, job: str) -> None:
    """A script's shell has what it starts with ``&`` ignore the terminal's signals."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        call = await execute(peer, job, "sh", "-c", "echo here; read x", tty=True)
        await until(peer, call, b"here")
        await peer.data(call, b"\x03")
        _, code = await result(peer, call)
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == -signal.SIGINT


async def test_the_end_of_input_on_a_terminal(peer: Peer, job: str) -> None:
    call = await execute(peer, job, "sh", "-c", "echo here; cat; echo over", tty=True)
    await until(peer, call, b"here")
    await peer.end(call)
    output, code = await result(peer, call)
    assert output.endswith(b"over\r\n")
    assert code == 0


@pytest.mark.parametrize("how", ["cancel", "link", "input"])
async def test_it_ends_with_its_call(agent: Agent, peer: Peer, job: str, how: str) -> None:
    async with peers.dial(agent.rpc_port, TOKEN) as other:
        call = await execute(other, job, "sh", "-c", "echo $$; sleep 1000 & echo $!; wait")
        text = b""
        while text.count(b"\n") < 2:
            text += (await other.next_of(call))[2]
        if how == "cancel":
            await other.cancel(call)
        elif how == "input":
            await other.data(call, "text")
            with pytest.raises(CallFailed, match="input is bytes"):
                await other.outcome(call)
        else:
            await other.close()
        for pid in text.split():
            await gone(int(pid))
    assert (await peer.call("job_info", job))["state"] == "RUNNING"


async def test_it_ends_with_its_job(peer: Peer, job: str) -> None:
    call = await execute(peer, job, "sleep", "1000")
    await peer.call("job_kill", job)
    async with asyncio.timeout(PATIENCE_S):
        assert await result(peer, call) == (b"", -15)


@pytest.mark.parametrize("path", [".", "", "/nowhere:.:/bin"])
async def test_a_path_may_lead_to_the_sandbox(peer: Peer, job: str, path: str) -> None:
    await upload(peer, job, "program", b"#!/bin/sh\necho found\n", executable=True)
    assert await result(peer, await execute(peer, job, "program", env={"PATH": path})) == (b"found\n", 0)


@pytest.mark.parametrize(
    ("args", "options", "error"),
    [
        (["no-such-program"], {}, "FileNotFoundError.*no-such-program"),
        (["./no-such-program"], {}, "FileNotFoundError.*no-such-program"),
        (["/etc/passwd"], {}, "PermissionError.*/etc/passwd"),
        ([], {}, "ValueError.*empty"),
        (["true"], {"env": ["x"]}, "TypeError"),
        (["true"], {"tty": True, "rows": 0}, "ValueError.*size"),
        (["true"], {"tty": True, "cols": 70_000}, "ValueError.*size"),
        (["true"], {"rows": "1"}, "ValueError.*size"),
        (["true"], {"nonsense": 1}, "TypeError"),
    ],
)
async def test_wrong_calls(peer: Peer, job: str, args: list[str], options: dict[str, Any], error: str) -> None:
    with pytest.raises(CallFailed, match=error):
        await result(peer, await execute(peer, job, *args, **options))


async def test_a_wrong_resize_ends_the_call(peer: Peer, job: str) -> None:
    call = await execute(peer, job, "cat", tty=True)
    await peer.data(call, {"resize": [0, "x"]})
    with pytest.raises(CallFailed, match=r"size is \[rows, cols\]"):
        await result(peer, call)


async def test_a_job_that_does_not_run(peer: Peer) -> None:
    job = (await peer.call("job_create"))["uid"]
    with pytest.raises(CallFailed, match=r"JobInvalidStateError.*NEW"):
        await result(peer, await execute(peer, job, "true"))
