"""Files of a job: ``/v1/jobs/<uid>/files/<path>``. Bodies go through as they come.

Files of a job are hostile: browsers get them as attachments, with no type that they would render.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from aiohttp import web

from pagent.errors import MethodError, RequestRefusedError, ServerError
from pagent.limits import KIB
from pagent.names import partial_of
from pagent.rpc.aio import StreamCall
from pagent.rpc.directory import JobAddress
from pagent.web.admission import located
from pagent.web.answers import json_answer
from pagent.web.bodies import receive_body, send_body, send_head
from pagent.web.local import text
from pagent.web.routes import RoutedAgent, Routes
from pagent.web.v1.folders import list_folder, make_folder
from pagent.web.v1.paths import attachment, path_of
from pagent.web.v1.preconditions import Reading, Selection, etag_of, is_conditional, select, upload_condition
from pagent.web.v1.queries import flag, number
from pagent.web.v1.refusals import refusals, require_ours
from pagent.wire import messages

#: Bytes of a chunk: from agents of ours, and from others, which keep 32 chunks of a slow reader.
_CHUNK_OURS: Final = 256 * KIB
_CHUNK: Final = 64 * KIB
#: How often a file may be replaced between the evaluation of a request's conditions and its download.
_TRIES: Final = 3

_OFFSET: Final = "X-Pagent-Offset"
_CONFLICT: Final = 409
_is_digest: Final = re.compile(r"[0-9a-fA-F]{64}").fullmatch
#: Fields of each download.
_DOWNLOAD: Final = {
    "Content-Type": "application/octet-stream",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
#: Of those that have an entity tag: caches ask again each time (RFC 9111 5.2.2.4).
_CACHE: Final = {"Cache-Control": "private, no-cache", "Accept-Ranges": "bytes"}


class StoredFile(NamedTuple):
    """A file as its agent has opened it."""

    size: int
    version: str


class FileAccess:
    """The routes of one file, and of the list of a folder."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    # --- reading ----------------------------------------------------------------------------------

    async def folder(self, request: web.Request) -> web.Response:
        """Answer with the entries of the sandbox itself."""
        with refusals():
            return await list_folder(self._routes, request)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Answer with a file, a part of one, or with the entries of a folder."""
        if "list" in request.query:
            return await self.folder(request)
        job, agent = await located(self._routes, request)
        with refusals():
            if not agent.is_ours:
                return await _send_of_field(request, job, agent)
            for _ in range(_TRIES):
                probed = await _probe(request, job, agent) if is_conditional(request.headers) else None
                if (response := await _send(request, job, agent, probed)) is not None:
                    return response
        raise RequestRefusedError(503, "the file changes all the time", retry_after_s=1)

    async def head(self, request: web.Request) -> web.StreamResponse:
        """Answer with the fields of a file; with ``partial`` how much is kept of an upload that was cut off."""
        job, agent = await located(self._routes, request)
        with refusals():
            if flag(request, "partial"):
                require_ours(agent, "uploads that are continued")
                return text("", headers={_OFFSET: str(await _kept(job, agent, path_of(request)))})
            if not agent.is_ours:
                return await _send_of_field(request, job, agent)
            file = await _probe(request, job, agent)
        selection = select(request.headers, file.version, file.size, ranges=False)
        if selection.outcome is not Reading.WHOLE:
            return _without_body(selection, file)
        return await send_head(request, _response(request, selection, file))

    # --- changing ---------------------------------------------------------------------------------

    async def store(self, request: web.Request) -> web.Response:
        """Write a file; with ``folder`` make a folder."""
        if flag(request, "folder"):
            with refusals():
                return await make_folder(self._routes, request)
        executable, options = flag(request, "executable"), _upload_options(request)
        job, agent = await located(self._routes, request)
        path = path_of(request)
        if agent.is_ours:
            options["report"] = True
        elif options:
            require_ours(agent, "uploads with conditions, digests, or that are continued")
        upload = agent.open_stream(messages.OSTREAM, "file_upload", job.job_uid, path, executable, **options)
        offset = number(request, "offset", 0)
        try:
            async with upload as stream:
                with refusals():
                    await receive_body(request, stream)
                    result = await stream.result()
        except RequestRefusedError as error:
            if error.status != _CONFLICT or not offset:
                raise
            kept = {_OFFSET: str(await _kept(job, agent, path))}
            return text(str(error), status=_CONFLICT, headers=kept)
        return _stored(path, result, offset)

    async def remove(self, request: web.Request) -> web.Response:
        condition = upload_condition(request.headers)
        if "absent" in condition:
            raise RequestRefusedError(400, "If-None-Match has no meaning for a removal")
        recursive = {"recursive": True} if flag(request, "recursive") else {}
        job, agent = await located(self._routes, request)
        require_ours(agent, "removals")
        with refusals():
            await agent.call("file_remove", job.job_uid, path_of(request), **condition, **recursive)
        return web.Response(status=204)


# --- downloads --------------------------------------------------------------------------------------


async def _probe(request: web.Request, job: JobAddress, agent: RoutedAgent) -> StoredFile:
    """Open a file, and read nothing of it."""
    call = _open(request, job, agent, 0, 0)
    async with call:
        return await _described(call)


async def _send(
    request: web.Request, job: JobAddress, agent: RoutedAgent, probed: StoredFile | None
) -> web.StreamResponse | None:
    """Answer with the range of a file that a request selects; None if the file has changed since the probe."""
    selection = Selection(Reading.WHOLE)
    if probed is not None:
        selection = select(request.headers, probed.version, probed.size, ranges=True)
        if selection.outcome not in (Reading.WHOLE, Reading.PART):
            return _without_body(selection, probed)
    length = selection.length if selection.outcome is Reading.PART else None
    async with _open(request, job, agent, selection.offset, length) as call:
        try:
            file = await _described(call)
        except MethodError as error:
            if probed is not None and error.cause_type == "ValueError":  # it is shorter now
                return None
            raise
        if probed is not None and file.version != probed.version:
            return None
        return await send_body(request, _response(request, selection, file), call)


def _open(request: web.Request, job: JobAddress, agent: RoutedAgent, offset: int, length: int | None) -> StreamCall:
    options = {"offset": offset, "length": length, "holes": False, "describe": True}
    path = path_of(request)
    return agent.open_stream(messages.ISTREAM, "file_download", job.job_uid, path, _CHUNK_OURS, False, **options)


async def _described(call: StreamCall) -> StoredFile:
    first = await _first(call)
    match first.get("file"):
        case {"size": int(size), "version": str(version)}:
            return StoredFile(size, version)
    raise ServerError("the agent did not describe the file")


async def _first(call: StreamCall) -> dict[str, Any]:
    first = await call.receive()
    if first is None:
        await call.result()
    if not isinstance(first, dict) or type(first.get("size")) is not int:
        raise ServerError("the agent did not say how long the file is")
    return first


async def _send_of_field(request: web.Request, job: JobAddress, agent: RoutedAgent) -> web.StreamResponse:
    """Answer with a whole file of an agent that knows neither parts nor versions."""
    if "If-Match" in request.headers:
        require_ours(agent, "conditions")
    path = path_of(request)
    async with agent.open_stream(messages.ISTREAM, "file_download", job.job_uid, path, _CHUNK, False) as call:
        size = (await _first(call))["size"]
        fields = {**_DOWNLOAD, "Content-Disposition": attachment(path), "Content-Length": str(size)}
        response = web.StreamResponse(headers=fields)
        if request.method == "HEAD":
            return await send_head(request, response)
        return await send_body(request, response, call)


def _response(request: web.Request, selection: Selection, file: StoredFile) -> web.StreamResponse:
    fields = {**_DOWNLOAD, **_CACHE, "ETag": etag_of(file.version), "Content-Length": str(file.size)}
    fields["Content-Disposition"] = attachment(path_of(request))
    if selection.outcome is Reading.PART:
        last = selection.offset + selection.length - 1
        fields["Content-Length"] = str(selection.length)
        fields["Content-Range"] = f"bytes {selection.offset}-{last}/{file.size}"
    return web.StreamResponse(status=selection.outcome.value, headers=fields)


def _without_body(selection: Selection, file: StoredFile) -> web.Response:
    fields = {**_CACHE, "ETag": etag_of(file.version)}
    match selection.outcome:
        case Reading.NOT_MODIFIED:
            return web.Response(status=304, headers=fields)
        case Reading.UNSATISFIABLE:
            unsatisfiable = {"Content-Range": f"bytes */{file.size}"}
            return text(f"the file has {file.size} bytes", status=416, headers=unsatisfiable)
    return text("the file is another one than If-Match names", status=412)


# --- uploads ----------------------------------------------------------------------------------------


def _upload_options(request: web.Request) -> dict[str, Any]:
    """Return the arguments of ``file_upload`` that agents of the field do not have."""
    if "Content-Range" in request.headers:
        raise RequestRefusedError(400, "a part of a file is sent with offset, not with Content-Range")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RequestRefusedError(415, "a file is sent without Content-Encoding")
    digest = request.query.get("sha256")
    if digest is not None and _is_digest(digest) is None:
        raise RequestRefusedError(400, "sha256 must be 64 hexadecimal digits")
    given = {"offset": number(request, "offset", 0), "partial": flag(request, "partial"), "sha256": digest}
    return {**{name: value for name, value in given.items() if value}, **upload_condition(request.headers)}


def _stored(path: str, result: Any, offset: int) -> web.Response:
    match result:
        case {"size": int(size), "version": str(version), "created": bool(created)}:
            answer = {"path": path, "size": offset + size}
            response = json_answer(answer, headers={"ETag": etag_of(version)})
            response.set_status(201 if created else 200)
            return response
    return json_answer({"path": path, "size": result if type(result) is int else None})


async def _kept(job: JobAddress, agent: RoutedAgent, path: str) -> int:
    """Return the bytes that are kept of an upload that was cut off."""
    if not path.strip("/"):
        raise RequestRefusedError(400, "the path names no file")
    try:
        found = await agent.call("file_stat", job.job_uid, partial_of(path))
    except MethodError as error:
        if error.cause_type != "FileNotFoundError":
            raise
        return 0
    return found["size"] if isinstance(found, dict) and type(found.get("size")) is int else 0
