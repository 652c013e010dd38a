"""A job of an agent: its life. What else can be done with it comes from its bases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from pagent.client.archives import ArchiveMethods
from pagent.client.calls import given
from pagent.client.output import Exec, Logs
from pagent.client.traffic import TrafficMethods
from pagent.limits import READY_TIMEOUT_S
from pagent.rpc.connection import Connection
from pagent.wire import messages

#: ``{'uid', 'name', 'state', 'sender'}`` and, from an agent of ours, the further keys of docs/contract.rst, "Jobs".
Info = dict[str, Any]


class RemoteJob(ArchiveMethods, TrafficMethods):
    """A job. Each method names the RPC method that it calls (docs/contract.rst, "Methods").

    Errors of the agent come as MethodError with ``cause_type``, the class name that the agent gave; LinkClosedError
    if the link is lost meanwhile, MethodNotFoundError from an agent that does not have the method.
    """

    def __init__(self, link: Connection, info: Info) -> None:
        super().__init__(link, info["uid"])
        self.name: str = info["name"]

    # --- life -------------------------------------------------------------------------------------

    async def start(
        self,
        args: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        *,
        port_expected_count: int = 1,
        forward_stdout: bool = False,
        port: int | Literal["auto"] | None = None,
        ready: Literal["report", "connect"] = "report",
        ready_timeout: float | None = None,
        timeout: float | None = None,
        prefer_port: int | None = None,
        more_ports: Mapping[str, int | Literal["auto"]] | None = None,
    ) -> Info:
        """``job_start``; waits until the job is ready.

        With ``port='auto'`` the agent picks a free port, ``prefer_port`` where that is free. It stands in ``PORT`` and
        where ``args`` and ``env`` say ``{port}``; a further port of ``more_ports`` stands in ``PORT_NAME`` and where
        they say ``{port:NAME}``. The info lists the ports in this order. ``cwd``: relative to the sandbox, or absolute
        in a folder that ``jobs.allow_folders`` lists. Times are seconds. MethodError: ProcessStartTimeoutError,
        ProcessExitedError, FileNotFoundError and others.
        """
        environment = None if env is None else dict(env)
        arguments: list[Any] = [list(args), environment, cwd, port_expected_count, forward_stdout]
        if (port, ready, ready_timeout, timeout) != (None, "report", None, None):  # an agent that is not ours has none
            arguments += [port, ready, READY_TIMEOUT_S if ready_timeout is None else ready_timeout, timeout]
        further = None if more_ports is None else dict(more_ports)
        info: Info = await self._call("job_start", *arguments, **given(prefer_port=prefer_port, more_ports=further))
        return info

    async def listening(self) -> list[tuple[str, int]]:
        """``job_listening``: the addresses and TCP ports that processes of the job listen on."""
        return [(address, port) for address, port in await self._call("job_listening")]

    async def wait(self) -> Info:
        """``job_wait``: the info once the process has ended; at once if there has been none."""
        info: Info = await self._call("job_wait")
        return info

    async def info(self) -> Info:
        """``job_info``."""
        info: Info = await self._call("job_info")
        return info

    async def kill(self, signal: str | int = "TERM", grace: float = 5.0) -> Info:
        """``job_kill``: KILL follows after ``grace`` seconds. ``signal``: a number, or a name such as 'RTMIN+1'."""
        info: Info = await self._call("job_kill", signal, grace)
        return info

    async def remove(self) -> Info:
        """``job_remove``: the info from before; its processes and its sandbox are gone."""
        info: Info = await self._call("job_remove")
        return info

    # --- output -----------------------------------------------------------------------------------

    def logs(self, stream: Literal["stdout", "stderr"] = "stdout", *, offset: int = 0, follow: bool = False) -> Logs:
        """``job_logs``: what the job has written from ``offset`` on; ``follow``: until it has ended."""
        return Logs(lambda: self._stream(messages.ISTREAM, "job_logs", stream, offset, follow))

    @asynccontextmanager
    async def exec(
        self,
        args: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        tty: bool = False,
        rows: int = 24,
        cols: int = 80,
        split: bool = False,
    ) -> AsyncIterator[Exec]:
        """``job_exec``: a second process in the sandbox, ended after the block if it still runs.

        ``tty``: on a pseudo-terminal of that size. ``split``: the first byte of each piece of output is 1 for stdout or
        a terminal, 2 for stderr.
        """
        arguments: list[Any] = [list(args), None if env is None else dict(env), tty, rows, cols]
        if split:  # an older agent does not know it
            arguments.append(True)
        async with self._stream(messages.BISTREAM, "job_exec", *arguments) as call:
            yield Exec(call)
