"""The whole sandbox of a job as a tar file: ``GET`` and ``PUT /v1/jobs/<uid>/archive``."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from pagent.errors import ServerError
from pagent.limits import KIB
from pagent.web.admission import located
from pagent.web.answers import json_answer
from pagent.web.bodies import receive_body, send_body, send_head
from pagent.web.routes import Routes
from pagent.web.v1.paths import attachment
from pagent.web.v1.queries import flag
from pagent.web.v1.refusals import refusals
from pagent.wire import messages

_CHUNK_OURS: Final = 256 * KIB
_CHUNK: Final = 64 * KIB


class ArchiveAccess:
    """Archives go through as they are packed and unpacked."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def show(self, request: web.Request) -> web.StreamResponse:
        include, exclude = request.query.get("include"), request.query.get("exclude")
        compress = flag(request, "compress")
        job, agent = await located(self._routes, request)
        chunk, options = (_CHUNK_OURS, {"holes": False}) if agent.is_ours else (_CHUNK, {})
        arguments = (job.job_uid, include, exclude, compress, chunk)
        call = agent.open_stream(messages.ISTREAM, "archive_download", *arguments, **options)
        async with call:
            with refusals():
                first = await call.receive()
                if first is None:
                    await call.result()
            if not isinstance(first, dict) or type(first.get("size")) is not int:
                raise ServerError("the agent did not say how long the archive is")
            response = web.StreamResponse(headers={"Content-Length": str(first["size"])})
            response.content_type = "application/gzip" if compress else "application/x-tar"
            response.headers["Content-Disposition"] = attachment(f"job.tar{'.gz' if compress else ''}")
            if request.method == "HEAD":
                return await send_head(request, response)
            return await send_body(request, response, call)

    async def store(self, request: web.Request) -> web.Response:
        """Unpack the body into the sandbox; answer with its size, and with the entries that were left out."""
        job, agent = await located(self._routes, request)
        options = {"report": True} if agent.is_ours else {}
        async with agent.open_stream(messages.OSTREAM, "archive_upload", job.job_uid, **options) as stream:
            with refusals():
                await receive_body(request, stream)
                result = await stream.result()
        report = result if isinstance(result, dict) else {"size": result}
        return json_answer({name: report.get(name) for name in ("size", "skipped", "names")})
