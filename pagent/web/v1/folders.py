"""The entries of a folder of a job: ``GET /v1/jobs/<uid>/files/<path>?list``."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from pagent.errors import RequestRefusedError, ServerError
from pagent.limits import LISTING_BYTES
from pagent.web.admission import located
from pagent.web.answers import json_answer
from pagent.web.routes import Routes
from pagent.web.v1.pages import page_limit
from pagent.web.v1.paths import path_of
from pagent.web.v1.queries import flag
from pagent.web.v1.refusals import require_ours
from pagent.web.v1.said import integer, text
from pagent.web.v1.views import time_text

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
