"""The stalls of an agent's loop, as a peer on another link sees them: a trivial call every millisecond.

The probe is a process of its own, so neither the load that a test makes nor its own loop delays it. Use it with an
agent that is a process as well (:func:`tests.kit.agents.agent_process`), and put the load between the braces::

    async with agent_process(root) as agent, probing(agent) as probe:
        await the_load()
        assert await probe.longest_s() < STALL_S

Time in which the agent's main thread, or the probe, was ready to run and the kernel ran other processes instead does
not count: what remains is what the agent did, or waited for, on its loop. So a busy machine does not fail a test, and
``STALL_S`` (0.25 s, where 0.05 s is what the agent promises) leaves the rest of the room that is needed.

Call :meth:`Probe.longest_s` as often as you like: each returns the longest stall since the last, and waits for the
call that is under way, so a stall that lasts until then is in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgpack

from tests.kit.agents import TOKEN, AgentProcess
from tests.kit.peer import PATIENCE_S, SUBPROTOCOL, UNARY, user_data

#: A loop that is held for longer than this fails a test.
STALL_S: Final = 0.25

_PERIOD_S: Final = 0.001
_BINARY: Final = 0x82


class Probe:
    """Of one agent; :func:`probing` makes one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def longest_s(self) -> float:
        """The longest stall of the agent's loop since this was called last, seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        async with asyncio.timeout(2 * PATIENCE_S):
            line = await self._process.stdout.readline()
        assert line, "the probe has lost its link"
        found = json.loads(line)
        assert found["calls"] > 0
        return float(found["longest_s"])


@asynccontextmanager
async def probing(agent: AgentProcess, *, token: str = TOKEN) -> AsyncIterator[Probe]:
    """A probe of a running agent, on an open link."""
    arguments = [str(agent.ports["rpc"]), token, str(agent.process.pid)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.kit.probe", *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        probe = Probe(process)
        await probe.longest_s()  # it has started
        yield probe
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


# --- the process ------------------------------------------------------------------------------------


class _Link:
    """A peer with one call at a time and no library between it and the socket, so that it costs next to nothing."""

    def __init__(self, port: int, token: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=2 * PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._id = 0
        fields = (
            "GET /rpc/v1 HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: Upgrade", "Upgrade: websocket",
            "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}", "", "",
        )  # fmt: skip
        self._socket.sendall("\r\n".join(fields).encode())
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            self._receive()
        del self._received[: end + 4]
        self.exchange([1, self._next_id(), [1, None, user_data("probe", token=token)]])

    def call(self, method: str) -> None:
        self.exchange([2, self._next_id(), UNARY, method, [], {}])

    def exchange(self, message: list[Any]) -> None:
        """Send a message and wait for the answer."""
        payload = msgpack.packb(message)
        length = (
            bytes((0xFE,)) + len(payload).to_bytes(2, "big") if len(payload) > 125 else bytes((0x80 | len(payload),))
        )
        self._socket.sendall(bytes((_BINARY,)) + length + bytes(4) + payload)  # a mask of zeros changes nothing
        while True:
            opcode, answer = self._frame()
            if opcode == _BINARY:
                assert msgpack.unpackb(answer)[1] == message[1]
                return

    def _next_id(self) -> int:
        self._id += 1
        return self._id

    def _frame(self) -> tuple[int, bytes]:
        self._have(2)
        length, start = self._received[1], 2
        if length == 126:
            start = 4
            self._have(start)
            length = int.from_bytes(self._received[2:4], "big")
        self._have(start + length)
        opcode, payload = self._received[0], bytes(self._received[start : start + length])
        del self._received[: start + length]
        return opcode, payload

    def _have(self, count: int) -> None:
        while len(self._received) < count:
            self._receive()

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise SystemExit("the agent has closed the link of the probe")
        self._received += data


def _waited_s(pid: int) -> float:
    """Time that the main thread of a process was ready to run and did not, in seconds; 0 if it is not counted."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _main(port: int, token: str, pid: int) -> None:
    link = _Link(port, token)
    longest_s, calls = 0.0, 0
    while True:
        waited = _waited_s(pid) + _waited_s(os.getpid())
        began = time.monotonic()
        link.call("job_count_current_connection")
        taken = time.monotonic() - began
        calls += 1
        if taken > longest_s:
            longest_s = max(longest_s, taken - (_waited_s(pid) + _waited_s(os.getpid()) - waited))
        if select.select([sys.stdin], [], [], _PERIOD_S)[0]:
            if not sys.stdin.buffer.raw.read(1):
                return
            sys.stdout.write(json.dumps({"longest_s": longest_s, "calls": calls}) + "\n")
            sys.stdout.flush()
            longest_s, calls = 0.0, 0


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
