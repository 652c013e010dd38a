from __future__ import annotations

import asyncio

import pytest

from pagent.net.port.connection import PortConnection
from pagent.splice.jobport import IdleConnections, JobPort
from tests.kit.ends import QuietUser
from tests.kit.peer import PATIENCE_S


class Checks:
    """The checks of the owner of a port: each takes one iteration of the loop; ``listener`` is found by the next."""

    def __init__(self) -> None:
        self.count = 0
        self.listener = 1
        self.error: OSError | None = None

    async def check(self) -> None:
        self.count += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error


async def connect(port: JobPort, times: int) -> list[PortConnection | BaseException]:
    async with asyncio.timeout(PATIENCE_S):
        made = await asyncio.gather(*(port.connect(QuietUser()) for _ in range(times)), return_exceptions=True)
    for each in made:
        if isinstance(each, PortConnection):
            each.close()
    return made


@pytest.fixture
def checks() -> Checks:
    return Checks()


async def test_connections_that_begin_together_have_the_listener_checked_once(checks: Checks) -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        number = server.sockets[0].getsockname()[1]
        port = JobPort(number, IdleConnections(0), check=checks.check, listener=lambda _: checks.listener)
        for listener, count in ((1, 1), (1, 1), (2, 2)):  # a check for each listener
            checks.listener = listener
            assert all(isinstance(each, PortConnection) for each in await connect(port, 20))
            assert checks.count == count


async def test_a_check_that_fails_is_made_for_the_next_connection_again(checks: Checks) -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        number = server.sockets[0].getsockname()[1]
        port = JobPort(number, IdleConnections(0), check=checks.check, listener=lambda _: checks.listener)
        checks.error = ConnectionRefusedError()
        assert all(isinstance(each, ConnectionRefusedError) for each in await connect(port, 3))
        assert checks.count == 3
        checks.error = None
        assert all(isinstance(each, PortConnection) for each in await connect(port, 3))
        assert checks.count == 4


async def test_the_listener_is_checked_after_a_refused_connection(checks: Checks) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    number = server.sockets[0].getsockname()[1]
    port = JobPort(number, IdleConnections(0), check=checks.check)  # the system names no listener
    assert isinstance((await connect(port, 1))[0], PortConnection)
    server.close()
    await server.wait_closed()
    for count in range(3):
        assert isinstance((await connect(port, 1))[0], ConnectionRefusedError)
        assert checks.count == count
