"""Run a program that serves: wait until it listens, forward to it, and print its output."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from pagent.cli.explained import with_name
from pagent.cli.failure import CommandFailed, message_of, start_failure
from pagent.cli.forced import unless_forced
from pagent.cli.outcome import describe_end, exit_code
from pagent.cli.ports.browser import open_browser
from pagent.cli.ports.url_reports import UrlReports, host_names
from pagent.cli.run.foreground import ForegroundJob
from pagent.cli.run.output import OutputCopy
from pagent.cli.run.readiness import ReadinessWatch
from pagent.cli.terminal.standard_streams import say
from pagent.errors import CallError, LinkError, MethodError
from pagent.runtime.tasks import TaskOwner


class ServedProgram:
    """The main process of a job that is started here, and gets no input."""

    def __init__(self, started: ForegroundJob, force: asyncio.Event) -> None:
        self._request, agent, self._job, self._ports, self._introduction = started
        self._force = force
        self._tasks = TaskOwner("output")
        self._urls = UrlReports(host_names(agent))

    async def run(self) -> int:
        """Start the program, and return its exit code when it has ended."""
        output = OutputCopy(self._job, self._tasks, self._urls.copied)
        try:
            code = await self._serve(output)
            await output.wait()
            self._urls.end()
        except asyncio.CancelledError:
            # The output of a program that shuts down is printed as well.
            await unless_forced(self._end(output), self._force, None)
            raise
        finally:
            await self._tasks.close()
        return code or int(output.failed)

    async def _serve(self, output: OutputCopy) -> int:
        request = self._request
        readiness = ReadinessWatch(self._job)
        watch = self._tasks.start(readiness.watch(), name="watch")
        try:
            info = await self._job.start(
                request.command,
                request.environment,
                request.folder,
                ready="connect",
                ready_timeout=request.ready_timeout,
                **self._ports.options(),
            )
        except MethodError as error:
            if error.cause_type == "ProcessExitedError":
                return await self._exited_early(output)
            if error.cause_type == "ProcessStartTimeoutError":
                raise CommandFailed(f"{message_of(error)}; {readiness.problem or _LISTEN}") from None
            raise start_failure(error, request.command[0], request.local_folder) from None
        finally:
            watch.cancel()
            self._introduction.end()
        self._ports.assign(info["ports"])
        await output.wait_until_quiet()
        await self._announce()
        return exit_code(await self._job.wait())

    async def _announce(self) -> None:
        """Accept connections, and print the addresses; the last one is that of the main port."""
        url = self._ports.url(self._urls.scheme)
        self._introduction.print_line()
        printed = self._urls.open(self._ports.by_job_port(), [url] if url is not None else [])
        await self._ports.accept(url, ends="press Ctrl-C to stop")
        if self._request.has_browser:
            self._tasks.start(_show(printed[0] if printed else url), name="browser")

    async def _exited_early(self, output: OutputCopy) -> int:
        """Return the exit code of a command that ended before it listened, which is a failure with any exit code."""
        await output.wait()  # it may have the reason
        info = await self._job.info()
        code = exit_code(info)
        how = "was ended" if info["signal"] is not None else "ended"
        port = info.get("port")
        text = f"the command {how} {describe_end(info)} before it listened on port {port}"
        say(with_name(text if code else f"{text}{_BACKGROUND}"))
        return code or 1

    async def _end(self, output: OutputCopy) -> None:
        """End the job with its grace period, and wait for the rest of its output."""
        with suppress(CallError, LinkError):  # not started yet, or the link is lost, which the removal reports
            await self._job.kill()
        await output.wait_while_read()


async def _show(url: str | None) -> None:
    if url is None:
        say("no browser is opened: the job does not speak HTTP")
    elif reason := await open_browser(url):
        say(f"no browser is opened: {reason}")


_LISTEN: Final = (
    "the command has to listen on 127.0.0.1, on the port that it gets as {port} or in PORT; --wait gives it more time"
)
_BACKGROUND: Final = "; a server has to stay in the foreground"
