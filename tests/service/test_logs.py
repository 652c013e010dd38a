"""``job_logs`` end to end: the output of a job, while it writes it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pagent.agent import Agent
from pagent.config.model import Settings
from pagent.jobs.log_reader import LogReader
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import PATIENCE_S, CallFailed, Peer
from tests.kit.transfers import eventually, sandbox_of

PYTHON = sys.executable


async def shell(peer: Peer, script: str, **options: Any) -> str:
    job = str((await peer.call("job_create"))["uid"])
    await peer.call("job_start", job, ["sh", "-c", script], None, port_expected_count=0, **options)
    return job


async def logs(peer: Peer, job: str, **options: Any) -> tuple[bytes, Any]:
    values, result = await peer.outcome(await peer.start(peers.ISTREAM, "job_logs", job, **options))
    return b"".join(values), result


async def test_what_there_is(peer: Peer) -> None:
    job = await shell(peer, "echo out; echo err >&2; exit 3")
    await peer.call("job_wait", job)
    assert await logs(peer, job) == (b"out\n", {"offset": 4, "state": "FINISHED", "exit_code": 3})
    assert (await logs(peer, job, stream="stderr"))[0] == b"err\n"
    assert await logs(peer, job, offset=2) == (b"t\n", {"offset": 4, "state": "FINISHED", "exit_code": 3})
    assert (await logs(peer, job, offset=4, follow=True))[0] == b""
    assert (await logs(peer, job, offset=100))[1]["offset"] == 100


async def test_without_follow_it_ends_at_once(peer: Peer) -> None:
    job = await shell(peer, "exec sleep 1000")
    assert await logs(peer, job) == (b"", {"offset": 0, "state": "RUNNING", "exit_code": None})


async def test_follow(peer: Peer) -> None:
    job = await shell(peer, "trap 'echo second; exit 4' USR1; echo first; while :; do sleep 1000 & wait $!; done")
    call = await peer.start(peers.ISTREAM, "job_logs", job, follow=True)
    assert (await peer.next_of(call))[2] == b"first\n"
    await peer.call("job_kill", job, "USR1")
    values, result = await peer.outcome(call)
    assert values == [b"second\n"]
    assert result == {"offset": 13, "state": "FINISHED", "exit_code": 4}


async def test_follow_before_the_start(peer: Peer) -> None:
    job = str((await peer.call("job_create"))["uid"])
    call = await peer.start(peers.ISTREAM, "job_logs", job, follow=True)
    await peer.call("job_start", job, ["echo", "here"], None, None, 0)
    assert (await peer.outcome(call))[0] == [b"here\n"]
    assert await logs(peer, str((await peer.call("job_create"))["uid"])) == (
        b"",
        {"offset": 0, "state": "NEW", "exit_code": None},
    )


async def test_removal_ends_it(peer: Peer) -> None:
    job = await shell(peer, "echo here; exec sleep 1000")
    call = await peer.start(peers.ISTREAM, "job_logs", job, follow=True)
    assert (await peer.next_of(call))[2] == b"here\n"
    await peer.call("job_remove", job)
    values, result = await peer.outcome(call)
    assert values == []
    assert (result["offset"], result["state"]) == (5, "CLOSED")


async def test_forwarded_output_has_no_log(peer: Peer) -> None:
    job = await shell(peer, "exit 0", forward_stdout=True)
    await peer.call("job_wait", job)
    assert await logs(peer, job, follow=True) == (b"", {"offset": 0, "state": "FINISHED", "exit_code": 0})


async def test_much(peer: Peer) -> None:
    size = 5_000_000
    job = await shell(peer, f"{PYTHON} -c 'import sys; sys.stdout.buffer.write(bytes({size}))'")
    values, result = await peer.outcome(await peer.start(peers.ISTREAM, "job_logs", job, follow=True))
    assert b"".join(values) == bytes(size)
    assert max(map(len, values)) <= 256 * 1024
    assert result["offset"] == size


WAITS = "trap 'echo second; exit 4' USR1; echo first; while :; do sleep 1000 & wait $!; done"


@pytest.mark.parametrize(
    "replaced", ["rm {log}; ln -s /etc/passwd {log}", "rm {log}", "echo other > x; mv x {log}", "rm {log}; mkdir {log}"]
)
@pytest.mark.parametrize("follow", [False, True])
async def test_what_is_put_in_the_place_of_a_log_cuts_nothing_off(
    peer: Peer, agent: Agent, replaced: str, follow: bool
) -> None:
    job = await shell(peer, WAITS)
    call = await peer.start(peers.ISTREAM, "job_logs", job, follow=True)
    assert (await peer.next_of(call))[2] == b"first\n"
    done = await asyncio.create_subprocess_shell(replaced.format(log=".pagent.stdout"), cwd=sandbox_of(agent, job))
    await done.wait()
    await peer.call("job_kill", job, "USR1")
    assert (await peer.outcome(call))[0] == [b"second\n"]
    assert (await logs(peer, job, follow=follow))[0] == b"first\nsecond\n"


@pytest.mark.parametrize("how", ["emptied", "emptied and written", "emptied twice"])
async def test_follow_when_another_program_empties_the_file(peer: Peer, agent: Agent, how: str) -> None:
    job = await shell(peer, WAITS)
    call = await peer.start(peers.ISTREAM, "job_logs", job, follow=True)
    assert (await peer.next_of(call))[2] == b"first\n"
    file = sandbox_of(agent, job) / ".pagent.stdout"
    expected = b"second\n"
    for _ in range(2 if how == "emptied twice" else 1):
        os.truncate(file, 0)
        if how != "emptied":
            with file.open("ab") as writing:  # as the job does
                writing.write(b"FIRST\n" if how == "emptied twice" else b"a longer line than the first\n")
    if how == "emptied twice":
        expected = b"FIRST\n" + expected
    elif how == "emptied and written":
        expected = b"a longer line than the first\n" + expected
    await peer.call("job_kill", job, "USR1")
    values, result = await peer.outcome(call)
    assert b"".join(values) == expected
    assert result == {"offset": len(expected), "state": "FINISHED", "exit_code": 4}


async def test_a_job_that_empties_its_own_log_again_and_again(peer: Peer, agent: Agent) -> None:
    wait = "until [ -e go$i ]; do sleep 0.01; done"
    job = await shell(peer, f"for i in 1 2 3 4 5; do echo line $i; {wait}; : > .pagent.stdout; done; echo end")
    call = await peer.start(peers.ISTREAM, "job_logs", job, follow=True)
    for number in range(1, 6):
        assert (await peer.next_of(call))[2] == b"line %d\n" % number
        (sandbox_of(agent, job) / f"go{number}").touch()
    values, result = await peer.outcome(call)
    assert values == [b"end\n"]
    assert result["offset"] == 4


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"stream": "stdin"}, "ValueError.*stdout or stderr"),
        ({"stream": ["x"]}, "ValueError.*stdout or stderr"),
        ({"offset": -1}, "ValueError.*offset"),
        ({"offset": "0"}, "ValueError.*offset"),
        ({"offset": 2**63 - 1}, "ValueError.*offset"),
        ({"nonsense": 0}, "TypeError"),
    ],
)
async def test_wrong_calls(peer: Peer, options: dict[str, Any], error: str) -> None:
    job = await shell(peer, "exit 0")
    with pytest.raises(CallFailed, match=error):
        await logs(peer, job, **options)


CAP = 64 * 1024


@pytest.fixture
def capped(settings: Settings) -> Settings:
    return replace(settings, jobs=replace(settings.jobs, max_output_bytes=CAP))


FLOOD = """
import signal
for first in range(0, 100_000, 1000):
    print("".join("%09d\\n" % number for number in range(first, first + 1000)), end="", flush=True)
signal.pause()
"""


async def test_a_flood_is_capped_and_its_offsets_stay(capped: Settings) -> None:
    async with running_agent(capped) as agent, peers.dial(agent.rpc_port, TOKEN) as peer:
        await flood_and_read(agent, peer)


async def flood_and_read(agent: Agent, peer: Peer) -> None:
    job = await shell(peer, f"exec {PYTHON} -c '{FLOOD}'")
    call = await peer.start(peers.ISTREAM, "job_logs", job, follow=True)
    text = b""
    while not text.endswith(b"000099999\n"):
        text += (await peer.next_of(call))[2]
    await peer.cancel(call)
    output = next(iter(agent.jobs.jobs())).outputs[".pagent.stdout"]
    async with asyncio.timeout(PATIENCE_S):
        kept, result = await logs(peer, job)
        while result["offset"] != 1_000_000 or len(kept) > CAP:
            kept, result = await logs(peer, job)  # until the last check of its size, which has no event
    assert output.size() == 1_000_000
    at = 1_000_000 - 50
    assert (await logs(peer, job, offset=at))[0] == b"".join(b"%09d\n" % n for n in range(99_995, 100_000))
    kept, result = await logs(peer, job)
    assert len(kept) >= CAP // 2
    assert kept.endswith(b"000099999\n")
    assert result["offset"] == 1_000_000
    assert (await peer.call("job_kill", job))["state"] == "FINISHED"
    assert (await logs(peer, job, offset=at, follow=True))[1]["offset"] == 1_000_000


def descriptors_of(path: Path) -> list[int]:
    """Those of this process that lead to a file."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            if os.readlink(f"/proc/self/fd/{name}") == str(path):
                found.append(int(name))
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
async def test_a_read_under_way_keeps_its_file_when_the_call_is_cancelled(
    peer: Peer, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread still runs: its descriptor must neither be closed nor be that of another file by then."""
    job = await shell(peer, "echo here; exec sleep 1000")
    file = sandbox_of(agent, job) / ".pagent.stdout"
    read = LogReader.read
    begun, resumed = asyncio.Event(), threading.Event()
    seen: list[tuple[bool, bytes]] = []
    loop = asyncio.get_running_loop()

    def held_up(reader: LogReader) -> bytes:
        loop.call_soon_threadsafe(begun.set)
        resumed.wait(PATIENCE_S)
        data = read(reader)
        seen.append((os.path.sameopenfile(reader.descriptor, other), data))
        return data

    monkeypatch.setattr(LogReader, "read", held_up)
    call = await peer.start(peers.ISTREAM, "job_logs", job)
    async with asyncio.timeout(PATIENCE_S):
        await begun.wait()
    await peer.cancel(call)
    (connection,) = agent.links.open
    await eventually(lambda: call not in connection.incoming)
    for _ in range(3):
        assert await peer.call("job_count_current_connection") == 1
    other = os.open(file.parent, os.O_RDONLY)  # takes the lowest number that is free
    resumed.set()
    await eventually(lambda: seen and len(descriptors_of(file)) == 1)  # the descriptor that is kept
    os.close(other)
    assert seen == [(False, b"here\n")]


# --- output after the exit of the main process ------------------------------------------------------


@pytest.fixture
def long_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for output until the last process has ended, however slow the machine is."""
    monkeypatch.setattr("pagent.jobs.tail.OUTPUT_QUIET_S", 3600.0)
    monkeypatch.setattr("pagent.jobs.tail.OUTPUT_TAIL_MAX_S", 3600.0)


@pytest.mark.parametrize(
    ("script", "numbers"),
    [
        ("exec > >(sleep 0.2; cat); seq 20000", 20000),
        ("exec > >(sleep 0.2; tee copy); seq 100000", 100000),
        ("exec 2> >(sleep 0.2; cat >&1); seq 20000 >&2", 20000),
        ("exec > >(while read -r line; do echo $line; done); seq 20000", 20000),
        ("(sleep 0.2; seq 20000; sleep 0.2; echo end) &", 20000),
        ("setsid sh -c 'sleep 0.2; seq 20000' &", 20000),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs process substitution")
@pytest.mark.usefixtures("long_tail")
async def test_what_is_written_after_the_exit_is_not_lost(peer: Peer, script: str, numbers: int) -> None:
    job = str((await peer.call("job_create"))["uid"])
    await peer.call("job_start", job, ["bash", "-c", script], None, port_expected_count=0)
    output, result = await logs(peer, job, follow=True)
    text = "".join(f"{number}\n" for number in range(1, numbers + 1))
    assert output.decode() == text + ("end\n" if "end" in script else "")
    assert (result["state"], result["exit_code"]) == ("FINISHED", 0)


@pytest.mark.usefixtures("long_tail")
async def test_a_wait_does_not_wait_for_the_rest_of_the_tree(peer: Peer, agent: Agent) -> None:
    job = await shell(peer, "(until [ -e go ]; do sleep 0.01; done; echo late) & exit 3")
    assert (await peer.call("job_wait", job))["exit_code"] == 3
    assert (await logs(peer, job))[0] == b""
    (sandbox_of(agent, job) / "go").touch()
    assert (await logs(peer, job, follow=True))[0] == b"late\n"


async def test_a_silent_process_in_the_background_is_ended_after_the_quiet_time(peer: Peer) -> None:
    job = await shell(peer, "(trap 'echo ended; exit' TERM; while :; do sleep 0.01; done) & exit 0")
    async with asyncio.timeout(PATIENCE_S):
        assert (await logs(peer, job, follow=True))[0] == b"ended\n"


async def test_output_without_end_is_ended(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagent.jobs.tail.OUTPUT_TAIL_MAX_S", 1.0)
    job = await shell(peer, "(trap 'echo ended; exit' TERM; while :; do echo more; sleep 0.05; done) & exit 0")
    async with asyncio.timeout(PATIENCE_S):
        output, _ = await logs(peer, job, follow=True)
    assert output.count(b"more\n") > 1
    assert output.endswith(b"ended\n")


async def test_a_removal_does_not_wait_for_the_output(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagent.jobs.tail.OUTPUT_TAIL_MAX_S", 3600.0)
    job = await shell(peer, "while :; do echo more; sleep 0.01; done & exit 0", forward_stdout=False)
    await peer.call("job_wait", job)
    call = await peer.start(peers.ISTREAM, "job_logs", job, follow=True)
    await peer.next_of(call)
    async with asyncio.timeout(PATIENCE_S):  # TERM ends it at once; its output never ends
        await peer.call("job_remove", job)
        assert (await peer.outcome(call))[1]["state"] == "CLOSED"


async def test_the_bounds_of_a_read(peer: Peer) -> None:
    job = str((await peer.call("job_create"))["uid"])
    values, _ = await peer.outcome(await peer.start(peers.ISTREAM, "job_logs", job, offset=7, bounds=True))
    assert values == [{"offset": 7, "end": 7}]
    await peer.call("job_start", job, ["sh", "-c", "echo out"], None, port_expected_count=0)
    await peer.call("job_wait", job)
    for offset, rest in ((0, b"out\n"), (2, b"t\n"), (4, b"")):
        call = await peer.start(peers.ISTREAM, "job_logs", job, offset=offset, bounds=True)
        values, result = await peer.outcome(call)
        assert values[0] == {"offset": offset, "end": 4}
        assert (b"".join(values[1:]), result["offset"]) == (rest, 4)
    values, _ = await peer.outcome(await peer.start(peers.ISTREAM, "job_logs", job, follow=True, bounds=True))
    assert values == [{"offset": 0, "end": None}, b"out\n"]
