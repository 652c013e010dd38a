"""Folders of a job: ``GET /v1/jobs/<uid>/files/<path>?list`` lists one, ``PUT …?folder=1`` makes one."""

from __future__ import annotations

import tarfile
import time
from typing import Any, Final

from aiohttp import web

from pagent.errors import MethodError, RequestRefusedError, ServerError
from pagent.limits import LISTING_BYTES
from pagent.names import from_wire
from pagent.web.admission import located
from pagent.web.answers import json_answer
from pagent.web.routes import RoutedAgent, Routes
from pagent.web.v1.pages import page_limit
from pagent.web.v1.paths import path_of
from pagent.web.v1.queries import flag
from pagent.web.v1.refusals import require_ours
from pagent.web.v1.said import integer, text
from pagent.web.v1.views import time_text
from pagent.wire import messages

#: An agent ends a page when it is this long. A shorter one with fewer entries than were asked for is the last.
_LONG_PAGE: Final = LISTING_BYTES // 4


async def list_folder(routes: Routes, request: web.Request) -> web.Response:
    """Answer with a page of the entries, sorted. The cursor is the path of an entry."""
    if "list" in request.query and not flag(request, "list", empty=True):
        raise RequestRefusedError(400, "list must be 1, or left out")
    limit, recursive = page_limit(request), flag(request, "recursive", empty=True)
    job, agent = await located(routes, request)
    require_ours(agent, "lists of folders")
    path, after = path_of(request), request.query.get("after")
    found = await agent.call("file_list", job.job_uid, path, recursive, after=after, limit=limit + 1)
    if not isinstance(found, list):
        raise ServerError("the agent's answer is no list")
    entries = [_entry(entry) for entry in found[:limit]]
    is_whole = len(found) <= limit and sum(len(str(entry)) for entry in found) < _LONG_PAGE
    return json_answer({"entries": entries, "next": None if is_whole or not entries else entries[-1]["path"]})


def _entry(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        raise ServerError("the agent's answer is no list of entries")
    kind = entry.get("type")
    return {
        "path": entry["path"],
        "type": kind if kind in _KINDS else "other",
        "size": integer(entry.get("size")) or 0,
        "mode": integer(entry.get("mode")) or 0,
        "mtime": time_text(entry.get("mtime")),
        "error": text(entry.get("error")),
    }


_KINDS: Final = ("file", "dir", "link", "other")


async def make_folder(routes: Routes, request: web.Request) -> web.Response:
    """Make a folder and those above it, from an archive; answer 200 if there is one."""
    if len(request.query) > 1 or request.body_exists:
        raise RequestRefusedError(400, "a folder has no content, and folder no other parameters")
    job, agent = await located(routes, request)
    require_ours(agent, "new folders")
    path = path_of(request)
    if (known := await _folder_at(agent, job.job_uid, path)) is None:
        await _unpack(agent, job.job_uid, path)
    return json_answer({"path": path, "size": None}, status=200 if known else 201)


async def _folder_at(agent: RoutedAgent, job_uid: str, path: str) -> bool | None:
    """Return True if the path is a folder; None if it does not exist. RequestRefusedError 409 for other types."""
    try:
        found = await agent.call("file_stat", job_uid, path)
    except MethodError as error:
        if error.cause_type != "FileNotFoundError":
            raise
        return None
    if isinstance(found, dict) and found.get("type") == "dir":
        return True
    raise RequestRefusedError(409, f"{path!r} exists and is not a folder")


async def _unpack(agent: RoutedAgent, job_uid: str, path: str) -> None:
    async with agent.open_stream(messages.OSTREAM, "archive_upload", job_uid, report=True) as stream:
        await stream.send(_archive_of(path))
        stream.close()
        result = await stream.result()
    match result:
        case {"skipped": int(count), "names": [str(reason), *_]} if count:
            raise RequestRefusedError(409, reason)


def _archive_of(path: str) -> bytes:
    """Return an archive with one folder. RequestRefusedError 400."""
    try:
        entry = tarfile.TarInfo(from_wire(path))
        entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, int(time.time())
        return entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + bytes(2 * tarfile.BLOCKSIZE)
    except ValueError:
        raise RequestRefusedError(400, f"not the path of a folder: {path!r}") from None
