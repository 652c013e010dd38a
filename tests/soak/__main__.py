"""``python -m tests.soak --minutes N --seed S``: an agent, several routers that do all sorts of things, and faults.

At the end nothing may be left: descriptors, processes, sandboxes and tasks are back at the baseline, memory near it.
Exit code 1, with what was found, if not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from websockets.exceptions import ConnectionClosed

from pagent.agent import Agent
from pagent.cli.loop import choose
from pagent.config.model import JobSettings, ServerSettings, Settings
from pagent.jobs.tree import become_subreaper
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, running_agent
from tests.kit.peer import BISTREAM, ISTREAM, OSTREAM, CallFailed, Peer
from tests.kit.programs import ECHO, start_program

ROUTERS = 4
#: Growth of the resident memory between the warmed-up agent and its end that is no leak: caches and the allocator's.
MEMORY_SLACK = 48 << 20
#: What goes wrong on purpose ends in one of these.
EXPECTED = (CallFailed, ConnectionError, OSError, ConnectionClosed)


@dataclass
class Soak:
    """What is under way, and what has been done."""

    agent: Agent
    random: random.Random
    until: float
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    # --- one router after the other ---------------------------------------------------------------

    async def router(self, number: int) -> None:
        while not self.over:
            with contextlib.suppress(*EXPECTED, ExceptionGroup):
                async with peers.dial(self.agent.rpc_port, TOKEN, uid=f"router {number}") as peer:
                    await self.one_link(peer)
            self.done["link"] += 1

    async def one_link(self, peer: Peer) -> None:
        job = await start_program(peer, ECHO)
        steps = [self.get, self.post, self.cancelled, self.tcp, self.file, self.archive, self.short_job, self.logs]
        async with asyncio.TaskGroup() as group:
            for _ in range(self.random.randint(5, 40)):
                if self.over:
                    break
                step = self.random.choice(steps)
                group.create_task(self.guarded(step, peer, job))
                await asyncio.sleep(self.random.random() * 0.05)
            fault = self.random.choice(["none", "cut", "kill", "remove"])
            self.done[f"fault: {fault}"] += 1
            if fault == "cut":
                peer.socket.transport.abort()
            elif fault == "kill":
                group.create_task(self.guarded(self.kill, peer, job))
            elif fault == "remove":
                group.create_task(self.guarded(self.remove, peer, job))

    async def guarded(self, step: object, peer: Peer, job: str) -> None:
        name = step.__name__  # type: ignore[attr-defined]
        try:
            await step(peer, job)  # type: ignore[operator]
        except EXPECTED:
            self.done[f"{name}, failed"] += 1
        except Exception as error:  # noqa: BLE001  whatever it is: it is what the soak looks for
            self.wrong.append(f"{name}: {error!r}")
        else:
            self.done[name] += 1

    # --- what they do -----------------------------------------------------------------------------

    async def get(self, peer: Peer, job: str) -> None:
        status, _, body = await peer.http(job, path=f"/{self.random.random()}")
        # 502: the job has just been killed.
        expect(status == 502 or b"".join(body).startswith(b"GET /0."), status, body)

    async def post(self, peer: Peer, job: str) -> None:
        sent = self.random.randbytes(self.random.choice([1, 5_000, 700_000]))
        pieces = [sent[at : at + 100_000] for at in range(0, len(sent), 100_000)]
        status, _, body = await peer.http(job, "POST", "/up", body=pieces)
        expect(status == 502 or b"".join(body).endswith(sent), status)

    async def cancelled(self, peer: Peer, job: str) -> None:
        call = await peer.start(BISTREAM, "http_request", job, "POST", "/cut", [], [])
        await peer.data(call, b"some")
        await peer.cancel(call)

    async def tcp(self, peer: Peer, job: str) -> None:
        call = await peer.start(BISTREAM, "tcp_connect", job)
        connected = (await peer.next_of(call))[2]
        expect(connected in (True, False), connected)
        await peer.data(call, b"GET /tcp HTTP/1.1\r\n\r\n")
        await peer.data(call, b"")
        values, _ = await peer.outcome(call)
        # A job that is killed or removed meanwhile has its end closed by the kernel, as if it had ended it itself.
        expect(b"GET /tcp" in b"".join(values) or job in self.ended, values)

    async def file(self, peer: Peer, job: str) -> None:
        data = self.random.randbytes(self.random.choice([0, 100, 900_000]))
        name = f"folder/{self.random.random()}"
        call = await peer.start(OSTREAM, "file_upload", job, name)
        if data:
            await peer.data(call, data)
        if self.random.random() < 0.2:
            await peer.cancel(call)
            return
        await peer.end(call)
        count = (await peer.outcome(call))[1]
        expect(count == len(data), count, len(data))
        call = await peer.start(ISTREAM, "file_download", job, name, 65536, True)
        values, _ = await peer.outcome(call)
        expect(b"".join(values[1:]) == data, name)

    async def archive(self, peer: Peer, job: str) -> None:
        call = await peer.start(ISTREAM, "archive_download", job, None, None, self.random.random() < 0.5)
        values, size = await peer.outcome(call)
        expect(sum(map(len, values[1:])) == size, size)

    async def short_job(self, peer: Peer, job: str) -> None:
        uid = (await peer.call("job_create"))["uid"]
        script = self.random.choice(["exit 3", "sleep 0.2", "(setsid sleep 60 &) ; exit 0", "kill -9 $$"])
        await peer.call("job_start", uid, ["sh", "-c", script], None, None, 0)
        await peer.call("job_wait", uid)
        if self.random.random() < 0.7:
            await peer.call("job_remove", uid)

    async def logs(self, peer: Peer, job: str) -> None:
        call = await peer.start(ISTREAM, "job_logs", job, "stderr", 0, True)
        await asyncio.sleep(0.1)
        await peer.cancel(call)

    async def kill(self, peer: Peer, job: str) -> None:
        self.ended.add(job)
        await peer.call("job_kill", job, "KILL")

    async def remove(self, peer: Peer, job: str) -> None:
        self.ended.add(job)
        await peer.call("job_remove", job)


# --- before and after -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """What this process holds at one moment."""

    descriptors: int
    processes: int
    sandboxes: int
    tasks: int
    memory: int


def descriptors() -> Counter[str]:
    """How many descriptors there are of what; files by their names."""
    kinds: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            kinds[os.readlink(f"/proc/self/fd/{name}").partition(":[")[0]] += 1
    return kinds


def held(root: Path) -> Held:
    gc.collect()
    me = psutil.Process()
    sandboxes = sum(1 for folder in root.iterdir() for entry in folder.iterdir() if entry.is_dir())
    return Held(
        me.num_fds(), len(me.children(recursive=True)), sandboxes, len(asyncio.all_tasks()), me.memory_info().rss
    )


async def settled(root: Path, baseline: Held, patience_s: float = 30.0) -> Held:
    """What is held once it is no more than before, or after the patience is over."""
    give_up = time.monotonic() + patience_s
    while True:
        now = held(root)
        back = (now.descriptors, now.processes, now.sandboxes, now.tasks) <= (
            baseline.descriptors, baseline.processes, baseline.sandboxes, baseline.tasks,
        )  # fmt: skip
        if back or time.monotonic() > give_up:
            return now
        await asyncio.sleep(0.25)


def excess(before: Held, after: Held) -> list[str]:
    """What is left over, in words."""
    found = [
        f"{name}: {getattr(before, name)} before, {getattr(after, name)} after"
        for name in ("descriptors", "processes", "sandboxes", "tasks")
        if getattr(after, name) > getattr(before, name)
    ]
    if after.descriptors > before.descriptors:
        found.append(f"open: {dict(descriptors())}")
    if after.memory - before.memory > MEMORY_SLACK:
        found.append(f"memory: {before.memory >> 20} MiB before, {after.memory >> 20} MiB after")
    return found


async def soak(minutes: float, seed: int, root: Path) -> list[str]:
    """Run it; what is wrong afterwards."""
    settings = Settings(server=ServerSettings(accept_tokens=(TOKEN,)), jobs=JobSettings(root=root))
    async with running_agent(settings) as agent:
        # Once without being looked at, so that what is made once is there.
        for length_s in (min(10.0, minutes * 15), minutes * 60):
            before = held(root)
            run = Soak(agent, random.Random(seed), time.monotonic() + length_s)
            async with asyncio.TaskGroup() as group:
                for number in range(ROUTERS):
                    group.create_task(run.router(number))
            after = await settled(root, before)
        for name, count in sorted(run.done.items()):
            say(f"{count:8} {name}")
        say(f"before: {before}\nafter:  {after}")
        return sorted(set(run.wrong)) + excess(before, after)


def expect(good: bool, *seen: object) -> None:
    """AssertionError also where Python has no asserts."""
    if not good:
        raise AssertionError(*seen)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="for the same choices again; the timing differs")
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    say(f"seed {seed}, process {os.getpid()}")
    become_subreaper()
    with tempfile.TemporaryDirectory(prefix="pagent-soak-") as root:
        _, factory = choose(os.environ.get("PAGENT_LOOP", ""))
        with asyncio.Runner(loop_factory=factory) as runner:
            wrong = runner.run(soak(options.minutes, seed, Path(root)))
    say("\n".join(["left over or wrong:", *wrong]) if wrong else "nothing is left over")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
