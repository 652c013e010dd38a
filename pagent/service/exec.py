"""``job_exec`` and ``job_run``: processes that are joined to the stream of the call (docs/contract.rst, "Jobs")."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from pagent.jobs.activity import JobActivity
from pagent.jobs.exec import ExecProcess
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job
from pagent.jobs.starting import TerminalSize
from pagent.limits import TERMINAL_SIZE_MAX
from pagent.rpc.calls import IncomingCall
from pagent.rpc.methods import bistream
from pagent.rpc.spool import SpoolOpener
from pagent.rpc.stream import Stream
from pagent.service.disk import DiskThreads
from pagent.service.jobs import owner_of


class ExecService:
    """Joins streams to processes."""

    def __init__(self, manager: JobManager, threads: DiskThreads, *, spool_max: int) -> None:
        self._manager = manager
        self._threads = threads
        self._spool_max = spool_max

    @bistream
    def job_exec(
        self,
        call: IncomingCall,
        job_uid: str,
        args: list[str],
        env: dict[str, str] | None = None,
        tty: bool = False,
        rows: int = 24,
        cols: int = 80,
        split: bool = False,
        started: bool = False,
    ) -> None:
        job, splice = self._joined(call, job_uid)
        _require_size(rows, cols)
        execution = self._manager.execute(
            job, splice, args, env, tty=bool(tty), rows=rows, cols=cols, split=bool(split)
        )
        call.run(self._start(splice, execution, (lambda: True) if started else None))

    @bistream
    def job_run(
        self,
        call: IncomingCall,
        job_uid: str,
        args: list[str],
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        tty: bool = False,
        rows: int = 24,
        cols: int = 80,
        split: bool = False,
        port: str | int | None = None,
        prefer_port: int | None = None,
        more_ports: dict[str, int | str] | None = None,
    ) -> None:
        job, splice = self._joined(call, job_uid)
        _require_size(rows, cols)
        size = TerminalSize(rows, cols) if tty else None
        ports: dict[str, Any] = {"port": port, "prefer_port": prefer_port, "more_ports": more_ports}
        execution = self._manager.join(job, splice, size, args, env, split=bool(split), cwd=cwd, **ports)
        call.run(self._start(splice, execution, job.info))

    def _joined(self, call: IncomingCall, job_uid: str) -> tuple[Job, _ExecSplice]:
        """Return the job, and the object that joins the stream of the call to a process of it."""
        job = self._manager.get(job_uid, owner_of(call.connection))
        stream = call.stream
        assert stream is not None
        stream.spool_with(SpoolOpener(job.sandbox.open_spool, self._spool_max, self._threads.of(job)))
        job.activity.opened()
        stream.count_in(job.traffic)
        call.on_end = job.activity.ended
        return job, _ExecSplice(call, stream, job.activity)

    async def _start(
        self, splice: _ExecSplice, execution: Coroutine[Any, Any, ExecProcess], first: Callable[[], Any] | None
    ) -> None:
        """Start a process, and send the first message, if there is one, when it runs."""
        splice.process = await execution
        if first is not None:
            splice.stream.send(first())
        splice.stream.attach(splice)


def _is_size(size: Any) -> bool:
    return type(size) is list and len(size) == 2 and all(type(n) is int and 0 < n <= TERMINAL_SIZE_MAX for n in size)


def _require_size(rows: Any, cols: Any) -> None:
    if not _is_size([rows, cols]):
        raise ValueError(f"a terminal's size is rows and cols, each from 1 to {TERMINAL_SIZE_MAX}")


class _ExecSplice:
    """Receiver of the stream and user of the process.

    From the caller: a bin is input; an empty bin, or the stream close, is its end. ``{'resize': [rows, cols]}`` sets
    the size of the terminal. A size that no terminal can have is ignored: windows report such sizes while they open.
    To the caller: bins of output. The result is the exit code, or minus the number of the signal that ended it.
    """

    def __init__(self, call: IncomingCall, stream: Stream, activity: JobActivity) -> None:
        self._call = call
        self.stream: Final = stream
        self._activity = activity
        self.process: ExecProcess | None = None

    def stream_message(self, value: Any) -> None:
        assert self.process is not None
        if isinstance(value, dict) and value.keys() == {"resize"}:
            if _is_size(value["resize"]):
                self.process.resize(*value["resize"])
        elif not isinstance(value, (bytes, bytearray, memoryview)):
            raise ValueError("input is bytes, or {'resize': [rows, cols]}")
        elif value:
            self._activity.input_arrived()
            self.process.write(bytes(value))
        else:
            self.process.end_input()

    def stream_closed(self) -> None:
        if self.process is not None:
            self.process.end_input()

    def stream_blocked(self) -> None:
        if self.process is not None:
            self.process.pause()

    def stream_writable(self) -> None:
        if self.process is not None:
            self.process.resume()

    def stream_lost(self, reason: str) -> None:
        if self.process is not None:
            self.process.kill()

    def exec_output(self, data: bytes) -> None:
        self.stream.send(data)

    def exec_input(self, blocked: bool) -> None:
        if blocked:
            self.stream.hold()
        else:
            self.stream.release()

    def exec_ended(self, code: int) -> None:
        self._call.finish(code)
