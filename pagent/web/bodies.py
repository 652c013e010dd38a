"""Carry bodies between requests and streams of agents. Nothing is kept here: each side waits for the other."""

from __future__ import annotations

from aiohttp import web

from pagent.errors import PagentError
from pagent.rpc.aio import StreamCall
from pagent.web.handover import body_pieces, close_after


async def receive_body(request: web.Request, stream: StreamCall) -> None:
    """Send the body of a request to an agent, and the end of the stream after it."""
    async for piece in body_pieces(request):
        if stream.is_over:
            break
        await stream.send(piece)
    stream.close()


async def send_body(request: web.Request, response: web.StreamResponse, stream: StreamCall) -> web.StreamResponse:
    """Answer with the bytes of a stream. The connection is cut if the stream fails: it is too late for a status."""
    close_after(response)
    await response.prepare(request)
    try:
        async for chunk in stream:
            await response.write(chunk)
        await stream.result()
    except PagentError:
        if request.transport is not None:
            request.transport.abort()
    else:
        await response.write_eof()
    return response


async def send_head(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Answer a HEAD request: only the fields of an answer."""
    close_after(response)
    await response.prepare(request)
    await response.write_eof()
    return response
