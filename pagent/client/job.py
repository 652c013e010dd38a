"""A job of an agent: start, end and output. Its base classes have files, archives and traffic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from pagent.client.archives import ArchiveMethods
from pagent.client.calls import bytes_or_text, given
from pagent.client.link import ClientLink
from pagent.client.output import Logs, RemoteExec
from pagent.client.traffic import TrafficMethods
from pagent.errors import ServerError
from pagent.limits import READY_TIMEOUT_S
from pagent.wire import messages

#: ``{'uid', 'name', 'state', 'sender'}``; from agents of this package also the keys of docs/contract.rst, "Jobs".
Info = dict[str, Any]


class RemoteJob(ArchiveMethods, TrafficMethods):
    """A job. Each method names the RPC method that it calls (docs/contract.rst, "Methods").

    :raises MethodError: an error of the agent; ``cause_type`` is its class name.
    :raises LinkClosedError: the link is lost.
    :raises MethodNotFoundError: the agent does not have the method.

    In ``args``, in values of ``env`` and in ``cwd``, bytes that are not UTF-8 are lone surrogates, as in ``sys.argv``
    (the error handler ``surrogateescape``).
    """

    def __init__(self, link: ClientLink, info: Info) -> None:
        super().__init__(link, info["uid"])
        self.name: str = info["name"]
        #: Its info when this object was made; `info` has the present one.
        self.first_info: Info = info

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
        stdin: bytes | None = None,
    ) -> Info:
        """Start the job (``job_start``), and wait until it is ready. Times are in seconds.

        With ``port='auto'`` the agent chooses a free port: ``prefer_port`` if that is free. It replaces ``{port}`` in
        ``args`` and ``env``, and is in the variable ``PORT``. A port of ``more_ports`` replaces ``{port:NAME}``, and is
        in ``PORT_NAME``. The info lists the ports in this order.

        :param stdin: its standard input, at most 64 KiB.
        :param cwd: relative to the sandbox, or absolute below a folder that ``jobs.allow_folders`` lists.
        :raises MethodError: ProcessStartTimeoutError, ProcessExitedError, FileNotFoundError and others.
        """
        folder = None if cwd is None else bytes_or_text(cwd)
        arguments: list[Any] = [_texts(args), _variables(env), folder, port_expected_count, forward_stdout]
        if (port, ready, ready_timeout, timeout) != (None, "report", None, None):  # older agents do not have them
            arguments += [port, ready, READY_TIMEOUT_S if ready_timeout is None else ready_timeout, timeout]
        further = None if more_ports is None else dict(more_ports)
        options = given(prefer_port=prefer_port, more_ports=further, stdin=stdin)
        info: Info = await self._call("job_start", *arguments, **options)
        return info

    async def listening(self) -> list[tuple[str, int]]:
        """Return the addresses and TCP ports that processes of the job listen on (``job_listening``)."""
        return [(address, port) for address, port in await self._call("job_listening")]

    async def wait(self) -> Info:
        """Wait until the process has ended, and return the info (``job_wait``). Returns at once before the start."""
        info: Info = await self._call("job_wait")
        return info

    async def info(self) -> Info:
        """Return the info of the job (``job_info``)."""
        info: Info = await self._call("job_info")
        return info

    async def kill(self, signal: str | int = "TERM", grace: float = 5.0) -> Info:
        """Signal the job, and send KILL after ``grace`` seconds (``job_kill``). ``signal``: a number, or a name."""
        info: Info = await self._call("job_kill", signal, grace)
        return info

    async def remove(self) -> Info:
        """End the job's processes and delete its sandbox; return the info from before (``job_remove``)."""
        info: Info = await self._call("job_remove")
        return info

    async def note(self, name: str, value: bytes | None, *, ttl: float | None = None, if_absent: bool = False) -> bool:
        """Keep a small value with the job, None deletes it (``job_note``); :meth:`AgentClient.watch` yields it.

        :param ttl: seconds after which it is removed.
        :param if_absent: change nothing and return False if it exists.
        """
        done: bool = await self._call("job_note", name, value, ttl, if_absent)
        return done

    # --- output -----------------------------------------------------------------------------------

    def logs(
        self,
        stream: Literal["stdout", "stderr"] = "stdout",
        *,
        offset: int = 0,
        follow: bool = False,
        since: float | None = None,
    ) -> Logs:
        """Return an output of the job from ``offset`` on (``job_logs``). ``follow``: until the job has ended.

        :param since: skip what was written before this time, in seconds since the epoch; negative: before now.
        """
        options = {} if since is None else {"since": since, "bounds": True}  # older agents have neither
        return Logs(lambda: self._stream(messages.ISTREAM, "job_logs", stream, offset, follow, **options))

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
    ) -> AsyncIterator[RemoteExec]:
        """Run another process in the sandbox (``job_exec``). It is ended after the block if it still runs.

        :param tty: run it on a pseudo-terminal with that size.
        :param split: each piece of output begins with the byte 1 (stdout or terminal) or 2 (stderr).
        """
        arguments: list[Any] = [_texts(args), _variables(env), tty, rows, cols]
        if split:  # older agents do not have it
            arguments.append(True)
        async with self._stream(messages.BISTREAM, "job_exec", *arguments) as call:
            yield RemoteExec(call)

    @asynccontextmanager
    async def run(
        self,
        args: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        *,
        tty: bool = False,
        rows: int = 24,
        cols: int = 80,
        split: bool = False,
        **ports: Any,
    ) -> AsyncIterator[tuple[RemoteExec, Info]]:
        """Start the job with its input and output joined to the call (``job_run``); yield the process and the info.

        The job is ended after the block if it still runs. ``tty``, ``rows``, ``cols`` and ``split`` are those of
        :meth:`exec`; ``cwd`` and ``ports`` (``port``, ``prefer_port``, ``more_ports``) those of :meth:`start`.
        """
        folder = None if cwd is None else bytes_or_text(cwd)
        options = given(cwd=folder, tty=tty, rows=rows, cols=cols, split=split, **ports)
        async with self._stream(messages.BISTREAM, "job_run", _texts(args), _variables(env), **options) as call:
            first = await call.receive()
            if not isinstance(first, dict):
                await call.result()
                raise ServerError("unexpected response to job_run")
            yield RemoteExec(call), first


def _texts(args: Sequence[str]) -> list[str | bytes]:
    return [bytes_or_text(text) for text in args]


def _variables(env: Mapping[str, str] | None) -> dict[str, str | bytes] | None:
    return None if env is None else {name: bytes_or_text(value) for name, value in env.items()}
