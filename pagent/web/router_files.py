"""The routes of a router that carry files and archives between clients and sandboxes."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from pagent.errors import RequestRefusedError, ServerError
from pagent.limits import KIB
from pagent.rpc.aio import StreamCall
from pagent.web.admission import located
from pagent.web.answers import empty_answer
from pagent.web.bodies import receive_body, send_body
from pagent.web.routes import RoutedAgent, Routes
from pagent.wire import messages

_OCTETS: Final = "application/octet-stream"
#: Bytes of a chunk of a download: from agents of ours, and from others, which keep 32 chunks of a slow reader.
_CHUNK_OURS: Final = 256 * KIB
_CHUNK: Final = 64 * KIB


class FileRoutes:
    """Bodies go through as they come: nothing is kept here."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def file(self, request: web.Request) -> web.StreamResponse:
        job, agent = await located(self._routes, request)
        name = request.match_info["rest"]
        if request.method == "POST":
            executable = _flag(request, "executable")
            check_upload(request)
            return await _upload(
                request, agent.open_stream(messages.OSTREAM, "file_upload", job.job_uid, name, executable)
            )
        _check_method(request)
        chunk, remove = _chunk_size(agent), _flag(request, "remove")
        return await _download(
            request,
            agent.open_stream(messages.ISTREAM, "file_download", job.job_uid, name, chunk, remove, **_whole(agent)),
        )

    async def archive(self, request: web.Request) -> web.StreamResponse:
        job, agent = await located(self._routes, request)
        if request.method == "POST":
            check_upload(request)
            return await _upload(request, agent.open_stream(messages.OSTREAM, "archive_upload", job.job_uid))
        _check_method(request)
        include, exclude = request.query.get("include"), request.query.get("exclude")
        compress, chunk = _flag(request, "compress"), _chunk_size(agent)
        return await _download(
            request,
            agent.open_stream(
                messages.ISTREAM, "archive_download", job.job_uid, include, exclude, compress, chunk, **_whole(agent)
            ),
        )


def _check_method(request: web.Request) -> None:
    if request.method not in ("GET", "HEAD"):
        raise RequestRefusedError(400, "unsupported HTTP method")


def check_upload(request: web.Request) -> None:
    """RequestRefusedError for an upload that the original router does not take."""
    if request.content_type != _OCTETS:
        raise RequestRefusedError(400, "unsupported content type for HTTP upload")
    if request.content_length is None:
        raise RequestRefusedError(400, "no Content-Length provided")


def _flag(request: web.Request, name: str) -> bool:
    value = request.query.get(name, "0")
    if value not in ("0", "1"):
        raise RequestRefusedError(400, f"{name} must be 0 or 1")
    return value == "1"


def _chunk_size(agent: RoutedAgent) -> int:
    return _CHUNK_OURS if agent.is_ours else _CHUNK


def _whole(agent: RoutedAgent) -> dict[str, bool]:
    """Return the option for a download whose holes are sent as zeros: HTTP has no holes."""
    return {"holes": False} if agent.holes else {}


async def _upload(request: web.Request, upload: StreamCall) -> web.Response:
    async with upload as stream:
        await receive_body(request, stream)
        await stream.result()
    return empty_answer()


async def _download(request: web.Request, download: StreamCall) -> web.StreamResponse:
    async with download as stream:
        first = await stream.receive()
        if first is None:
            await stream.result()
        if not isinstance(first, dict) or type(first.get("size")) is not int:
            raise ServerError("the agent did not say how long the file is")
        response = web.StreamResponse(headers={"Content-Type": _OCTETS, "Content-Length": str(first["size"])})
        return await send_body(request, response, stream)
