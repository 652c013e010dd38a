"""``job_exec`` end to end: a second process, with pipes or on a terminal, spliced to a stream."""

from __future__ import annotations

import asyncio
import json
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


SHOW = """
import json, os
print(json.dumps([os.getcwd(), dict(os.environ), sorted(os.listdir("/proc/self/fd")),
                  open("/proc/self/oom_score_adj").read()]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
async def test_it_has_what_the_job_has(peer: Peer, agent: Agent) -> None:
    """The environment of the job, its ports, and then the call's; names that are none of a shell's included."""
    job = (await peer.call("job_create"))["uid"]
    env = {"OF_THE_JOB": "{port}", "a.b-c": "1", "OVER": "job", "BASH_FUNC_f%%": "() { true; }"}
    command = [PYTHON, "-c", SHOW + "\nimport signal, sys; sys.stdout.flush(); signal.pause()"]
    await peer.call("job_start", job, command, env, None, 0, port="auto")
    call = await execute(peer, job, PYTHON, "-c", SHOW, env={"GIVEN": "ü", "OVER": "call"})
    output, code = await result(peer, call)
    assert code == 0
    folder, environment, descriptors, score = json.loads(output)
    logs = await peer.start(peers.ISTREAM, "job_logs", job, follow=True)
    own = b""
    while not own.endswith(b"\n"):
        own += (await peer.next_of(logs))[2]
    await peer.cancel(logs)
    own_folder, own_environment, own_descriptors, own_score = json.loads(own)
    assert folder == own_folder == str(next(iter(agent.jobs.jobs())).sandbox.path)
    assert environment == own_environment | {"GIVEN": "ü", "OVER": "call"}
    assert environment["PWD"] == folder
    assert environment["PORT"] == environment["OF_THE_JOB"] == str((await peer.call("job_info", job))["ports"][0])
    assert descriptors == own_descriptors == ["0", "1", "2", "3"]
    assert score == own_score


@pytest.mark.parametrize("program", ["no-such-program", "./no/such/program"])
async def test_an_error_names_the_program_as_given(peer: Peer, job: str, program: str) -> None:
    with pytest.raises(CallFailed) as caught:
        await result(peer, await execute(peer, job, program))
    assert caught.value.cause == "FileNotFoundError"
    assert str(caught.value).endswith(f"[Errno 2] No such file or directory: '{program}'")


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


async def test_a_slow_reader_loses_nothing_of_a_terminal(agent: Agent, job: str) -> None:
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow"]) as slow:
        call = await execute(slow, job, "seq", "60000", tty=True)
        text = b""
        while True:
            message = await slow.next_of(call)
            if message[0] != 8:
                break
            text += message[2]
            await asyncio.sleep(0.005)
            await slow.send([10, call, max(64, len(message[2]))])
        assert text.split() == [b"%d" % number for number in range(1, 60001)]


async def test_an_end_waits_for_a_reader_without_credit(agent: Agent, job: str) -> None:
    size = 300_000
    async with peers.dial(agent.rpc_port, TOKEN, extensions=["flow"]) as slow:
        call = await execute(slow, job, PYTHON, "-c", f"import os; os.write(1, bytes({size}))")
        received = 0
        while received < 256 * 1024:  # its credit
            received += len((await slow.next_of(call))[2])
        await asyncio.sleep(1.0)  # longer than the silence that ends an output
        await slow.send([10, call, 256 * 1024])
        while received < size:
            message = await slow.next_of(call)
            assert message[0] == 8, message
            received += len(message[2])
        assert await result(slow, call) == (b"", 0)


async def test_children_that_write_on_keep_it_until_it_is_cancelled(peer: Peer, job: str) -> None:
    call = await execute(peer, job, "sh", "-c", "echo $$; yes & exit 0")
    text = await until(peer, call, b"y\n" * 100_000)
    await gone(int(text.split()[0]))
    await until(peer, call, b"y\n" * 100_000)
    await peer.cancel(call)


async def test_a_terminal(peer: Peer, job: str) -> None:
    script = 'test -t 0 && stty size && tty && echo "$TERM"; read line; echo "<$line>"; stty size'
    call = await execute(peer, job, "sh", "-c", script, tty=True, rows=33, cols=111)
    output = await until(peer, call, b"xterm-256color\r\n")
    assert b"33 111\r\n/dev/pts/" in output
    await peer.data(call, {"resize": [44, 99]})
    await peer.data(call, b"typed\n")
    output, code = await result(peer, call)
    assert (output, code) == (b"typed\r\n<typed>\r\n44 99\r\n", 0)


async def test_outputs_are_separated(peer: Peer, job: str) -> None:
    values, code = await peer.outcome(await execute(peer, job, "sh", "-c", "echo out; echo err >&2", split=True))
    assert sorted(values) == [b"\1out\n", b"\2err\n"]
    assert code == 0


async def test_children_that_keep_the_terminal_do_not_keep_it(peer: Peer, job: str) -> None:
    script = "trap '' HUP; setsid sleep 1000 & sleep 1000 & seq 1000"
    for _ in range(3):
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
    """A script's shell starts programs with ``&`` so that they ignore the terminal's signals."""
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


@pytest.mark.parametrize(
    "size",
    [
        *(
            [0, 80],
            [24, 0],
            [24, 70_000],
            [-1, 80],
            [24],
            [24, 80, 1],
            [0, "x"],
            ["24", "80"],
            [True, True],
            [1.0, 2.0],
        ),
        *(None, "24x80", 5, b"x", {}, {"rows": 24}, [[24, 80]]),
    ],
)
async def test_a_size_that_no_terminal_can_have_is_ignored(peer: Peer, job: str, size: Any) -> None:
    call = await execute(peer, job, "sh", "-c", "echo here; read x; stty size", tty=True, rows=33, cols=111)
    await until(peer, call, b"here")
    await peer.data(call, {"resize": size})
    await peer.data(call, b"\n")
    output, code = await result(peer, call)
    assert output.endswith(b"33 111\r\n")
    assert code == 0


async def test_a_resize_without_a_terminal_is_ignored(peer: Peer, job: str) -> None:
    call = await execute(peer, job, "cat")
    await peer.data(call, {"resize": [1, 2]})
    await peer.data(call, b"here")
    await peer.end(call)
    assert await result(peer, call) == (b"here", 0)


async def test_a_terminal_knows_that_text_is_utf_8(peer: Peer, job: str) -> None:
    call = await execute(peer, job, "sh", "-c", 'echo here; read x; echo "<$x>"', tty=True)
    await until(peer, call, b"here")
    await peer.data(call, "aü\x7fb\n".encode())
    output, code = await result(peer, call)
    assert output.endswith(b"<ab>\r\n")
    assert code == 0


@pytest.mark.parametrize(
    ("setting", "typed", "read"),
    [
        ("", b"abc", "abc"),
        ("", b"abc\n", "abc\n"),
        ("", b"abc\r", "abc\n"),
        ("", b"abc\ndef", "abc\ndef"),
        ("", b"", ""),
        ("-icrnl", b"abc\r", "abc\r"),
        ("eof ^A", b"abc", "abc"),
        ("eof ^A", b"a\x04bc\n", "a\x04bc\n"),
        ("eol x", b"abcx", "abcx"),
    ],
)
async def test_the_end_of_typed_input(peer: Peer, job: str, setting: str, typed: bytes, read: str) -> None:
    program = "import sys; sys.stdin.reconfigure(newline=''); data = sys.stdin.read(); print(repr(data), end='!')"
    script = f'stty -echo {setting}; echo here; {PYTHON} -c "$0"'
    call = await execute(peer, job, "sh", "-c", script, program, tty=True)
    await until(peer, call, b"here\r\n")
    if typed:
        await peer.data(call, typed)
    await peer.data(call, b"")
    async with asyncio.timeout(PATIENCE_S):
        output, code = await result(peer, call)
    assert output.decode() == repr(read) + "!"
    assert code == 0


async def test_a_job_that_does_not_run(peer: Peer) -> None:
    job = (await peer.call("job_create"))["uid"]
    with pytest.raises(CallFailed, match=r"JobInvalidStateError.*NEW"):
        await result(peer, await execute(peer, job, "true"))


async def test_the_start_can_be_announced(peer: Peer, job: str) -> None:
    values, code = await peer.outcome(await execute(peer, job, "echo", "out", started=True, split=True))
    assert (values, code) == ([True, b"\1out\n"], 0)
