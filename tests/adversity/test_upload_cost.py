"""The cost of an upload to a slow disk for a peer without credit, compared with a peer that has credit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pagent.client import connect
from tests.kit import peer as peers
from tests.kit.agents import TOKEN, agent_process
from tests.kit.transfers import upload

RATE = 40e6
PIECE = bytes(256 << 10)
SIZE = 128 << 20

#: The first import of the agent's interpreter: writes of uploads take as long as on a disk of this rate.
SLOW_DISK = f"""
import os, time
def slowed(write):
    def slow(*args):
        done = write(*args)
        if done > 4096:
            time.sleep(done / {RATE})
        return done
    return slow
os.writev = slowed(os.writev)
"""


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def cost_s(folder: Path, *, credit: bool) -> float:
    """Return the CPU time of one upload in a new agent."""
    (folder / "path").mkdir(parents=True)
    (folder / "path" / "sitecustomize.py").write_text(SLOW_DISK)
    path = os.pathsep.join([str(folder / "path"), os.environ.get("PYTHONPATH", "")])
    (folder / "jobs").mkdir()
    async with agent_process(folder / "jobs", env={"PYTHONPATH": path}) as agent:
        if credit:
            async with connect(f"127.0.0.1:{agent.ports['rpc']}", token=TOKEN) as link:
                job = (await link.call("job_create"))["uid"]
                before = cpu_s(agent.process.pid)
                async with link.open_stream(peers.OSTREAM, "file_upload", job, "large") as call:
                    for _ in range(SIZE // len(PIECE)):
                        await call.send(PIECE)
                    call.close()
                    assert await call.result() == SIZE
        else:
            async with peers.dial(agent.ports["rpc"], TOKEN) as peer:
                uid = (await peer.call("job_create"))["uid"]
                before = cpu_s(agent.process.pid)
                assert await upload(peer, uid, "large", *[PIECE] * (SIZE // len(PIECE))) == SIZE
        return cpu_s(agent.process.pid) - before


@pytest.mark.slow
async def test_a_peer_without_credit_costs_little_more(tmp_path: Path) -> None:
    """The least of some rounds is compared, because the machine has other work."""
    with_credit, without = [], []
    for number in range(3):
        with_credit.append(await cost_s(tmp_path / f"with-{number}", credit=True))
        without.append(await cost_s(tmp_path / f"without-{number}", credit=False))
    assert min(without) <= 1.3 * min(with_credit), (without, with_credit)
