"""Run a program that uses the terminal or the input of this process: ``pagent run -i`` and ``-t``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from pagent.cli.failure import start_failure
from pagent.cli.ports.browser import open_browser
from pagent.cli.ports.url_reports import UrlReports, host_names
from pagent.cli.run.foreground import ForegroundJob
from pagent.cli.run.joined_process import JoinedProcess
from pagent.errors import CallError, LinkError, MethodError
from pagent.runtime.tasks import TaskOwner

#: Between two requests for the sockets that the job listens on.
_POLL_S: Final = 0.5


class InteractiveProgram:
    """The main process of a job, joined to this process. It is not awaited to listen: the user sees its output."""

    def __init__(self, started: ForegroundJob) -> None:
        self._request, agent, self._job, self._ports, self._introduction = started
        self._names = host_names(agent)

    async def run(self) -> int:
        """Start the program, and return its exit code when it has ended."""
        request = self._request
        joint = request.joint
        run = self._job.run(
            request.command,
            joint.environment(request.environment),
            request.folder,
            **joint.options(),
            **self._ports.options(),
        )
        try:
            async with run as (process, info):
                urls = UrlReports(self._names, lambda: joined.screen.is_alternate)
                joined = JoinedProcess(process, joint, urls.copied)
                self._ports.assign(info["ports"])
                if self._ports.by_job_port():
                    self._introduction.print_line()
                url = self._ports.url(urls.scheme)
                await self._ports.accept(url, ends="" if joint.is_raw else "press Ctrl-C to stop")
                urls.open(self._ports.by_job_port(), [url] if url is not None else [])
                async with self._browser(url):
                    code = await joined.run()
                urls.end()
                return code
        except MethodError as error:
            raise start_failure(error, request.command[0], request.local_folder) from None

    @asynccontextmanager
    async def _browser(self, url: str | None) -> AsyncIterator[None]:
        """Open a browser within the block once the program listens, if one is asked for."""
        tasks = TaskOwner("browser")
        if self._request.has_browser and url is not None:
            tasks.start(self._open_browser(url), name="browser")
        try:
            yield
        finally:
            await tasks.close()

    async def _open_browser(self, url: str) -> None:
        wanted = set(self._ports.by_job_port())
        with suppress(CallError, LinkError):  # the job has ended
            while wanted.isdisjoint([port for _, port in await self._job.listening()]):  # noqa: ASYNC110 - the agent reports no event
                await asyncio.sleep(_POLL_S)
            await open_browser(url)
