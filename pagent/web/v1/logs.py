"""The output of a job: ``GET /v1/jobs/<uid>/logs``."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from pagent.errors import ServerError
from pagent.rpc.aio import StreamCall
from pagent.web.admission import handed_over, located
from pagent.web.bodies import send_body, send_head
from pagent.web.routes import Routes
from pagent.web.v1.queries import flag, moment, number, one_of
from pagent.web.v1.refusals import require_ours
from pagent.wire import messages

_STREAMS: Final = ("stdout", "stderr")
#: The offset of the first byte of the answer, and the one for the next request.
_START: Final = "X-Pagent-Start"
_NEXT: Final = "X-Pagent-Offset"


class OutputRoutes:
    """The bytes go through as they come. Plain text is not run by browsers, whatever a job writes."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def show(self, request: web.Request) -> web.StreamResponse:
        stream, offset = one_of(request, "stream", _STREAMS, "stdout"), number(request, "offset", 0)
        since = moment(request, "since")
        options = {} if since is None else {"since": since}  # older agents do not have it
        is_head = request.method == "HEAD"
        follow = flag(request, "follow") and not is_head
        job, agent = await located(self._routes, request)
        require_ours(agent, "logs")
        call = agent.open_stream(
            messages.ISTREAM, "job_logs", job.job_uid, stream, offset, follow, bounds=True, **options
        )
        async with call:
            response = web.StreamResponse(headers=await _bounds(call))
            response.content_type, response.charset = "text/plain", "utf-8"
            if is_head:
                return await send_head(request, response)
            if follow:
                handed_over(request).end_with_client()
            return await send_body(request, response, call)


async def _bounds(call: StreamCall) -> dict[str, str]:
    """Return the fields that say which part of the output an answer has. A followed output has no end yet."""
    first = await call.receive()
    if first is None:
        await call.result()
    if not isinstance(first, dict) or type(first.get("offset")) is not int:
        raise ServerError("the agent did not say where the output begins")
    end = first.get("end")
    return {_START: str(first["offset"])} | ({_NEXT: str(end)} if type(end) is int else {})
