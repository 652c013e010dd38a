"""A router's API for portals: jobs, tickets and events (docs/api.rst).

::

    async with connect_router("https://router.example.org", token) as router:
        job = await router.create("report", key="order 17", start={"args": ["python3", "report.py"]})
        async for event in router.events():
            ...
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from pagent.client.api import ApiAddress, api_request, parse_url
from pagent.client.event_parser import EventParser
from pagent.errors import ApiError, DialError, LinkClosedError
from pagent.job_states import ENDED, NEW
from pagent.net.dial import Backoff

#: How long a request that may be repeated is repeated while the router does not answer: it restarts within seconds.
_REPEATED_S: Final = 60.0
_PAUSE_MAX_S: Final = 5.0
#: A router sends a comment every 15 s; without one the connection is dead.
_SILENT_S: Final = 45.0
#: The longest that one request waits for a job; a longer wait is several requests.
_WAIT_S: Final = 60.0
_OK: Final = 200
_UNAVAILABLE: Final = (502, 503, 504)


class RouterEvent(NamedTuple):
    """One event. ``data`` is the object as its GET answers it; after ``reset`` the caller lists all again."""

    id: str
    name: str
    data: dict[str, Any]


class PortalClient:
    """The API of one router. ApiError: it refused a request; DialError, LinkClosedError: it does not answer."""

    def __init__(self, address: ApiAddress, token: str | None, tls: ssl.SSLContext | None) -> None:
        self._address = address
        self._tls = tls
        self._fields = {} if token is None else {"Authorization": f"Bearer {token}"}

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        *,
        repeat: bool | None = None,
    ) -> Any:
        """Make any request below ``/v1``; return the JSON value of the answer.

        ``repeat``: make it again while the router does not answer; GETs unless it is given.
        """
        target = f"/v1{path}?{urlencode(query)}" if query else f"/v1{path}"
        data = b"" if body is None else json.dumps(body).encode()
        fields = {**self._fields, "Content-Type": "application/json"} if data else self._fields
        backoff, until = Backoff(_PAUSE_MAX_S), asyncio.get_running_loop().time() + _REPEATED_S
        while True:
            try:
                async with api_request(self._address, method, target, fields, data, tls=self._tls) as answer:
                    return await answer.value()
            except (ApiError, DialError, LinkClosedError) as error:
                may = method == "GET" if repeat is None else repeat
                if not (may and _passes(error)) or asyncio.get_running_loop().time() >= until:
                    raise
            await asyncio.sleep(backoff.delay(0.0))

    # --- jobs -------------------------------------------------------------------------------------

    async def create(self, name: str | None = None, *, key: str | None = None, **more: Any) -> dict[str, Any]:
        """Create a job; with a ``key`` the request is repeated until it is answered, and makes one job only.

        ``more``: further members of the body, as ``agent``, ``labels``, ``files``, ``start`` and ``ticket``.
        """
        given = {"name": name, "key": key, **more}
        body = {member: value for member, value in given.items() if value is not None}
        job: dict[str, Any] = await self.call("POST", "/jobs", body, repeat=key is not None)
        return job

    async def wait(self, uid: str, timeout: float | None = None) -> dict[str, Any]:
        """Return a job once no process of it runs, or as it is after ``timeout`` seconds."""
        clock = asyncio.get_running_loop().time
        end = None if timeout is None else clock() + timeout
        while True:
            left = _WAIT_S if end is None else min(_WAIT_S, max(0.0, end - clock()))
            job: dict[str, Any] = await self.call("GET", f"{_path(uid)}/wait", query={"timeout": f"{left:.3f}"})
            if job["state"] in (NEW, *ENDED) or (end is not None and clock() >= end):
                return job

    async def ticket(self, uid: str, **terms: Any) -> dict[str, Any]:
        """Make a ticket that opens a job to a browser; return its ``id``, ``urls`` by port, and ``expires_at``."""
        ticket: dict[str, Any] = await self.call("POST", f"{_path(uid)}/tickets", terms)
        return ticket

    async def revoke(self, uid: str, ticket: str) -> None:
        """Revoke a ticket of a job."""
        await self.call("DELETE", f"{_path(uid)}/tickets/{quote(ticket, safe='')}")

    # --- events -----------------------------------------------------------------------------------

    async def events(self, after: str | None = None) -> AsyncIterator[RouterEvent]:
        """Yield events from now on, or from the one after the id ``after``, without an end.

        A stream that is lost is opened again where it has ended; ``reset`` says that events were missed.
        """
        clock, backoff = asyncio.get_running_loop().time, Backoff(_PAUSE_MAX_S)
        while True:
            began = clock()
            fields = self._fields if after is None else {**self._fields, "Last-Event-ID": after}
            try:
                async with api_request(self._address, "GET", "/v1/events", fields, tls=self._tls) as answer:
                    if answer.status != _OK:
                        await answer.value()
                    after = after or answer.fields.get("x-pagent-event-id")
                    parser = EventParser()
                    async for piece in answer.pieces(_SILENT_S):
                        for event in parser.feed(piece):
                            after = event.id
                            yield RouterEvent(event.id, event.name, json.loads(event.data))
            except (ApiError, DialError, LinkClosedError) as error:
                if not _passes(error):
                    raise
            await asyncio.sleep(backoff.delay(clock() - began))


def _passes(error: Exception) -> bool:
    """Return whether the next attempt may succeed."""
    return not isinstance(error, ApiError) or error.status in _UNAVAILABLE


def _path(uid: str) -> str:
    return f"/jobs/{quote(uid, safe='')}"


@asynccontextmanager
async def connect_router(
    url: str, token: str | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[PortalClient]:
    """Use the API of the router at ``url``. ConfigError; DialError if it cannot be reached, ApiError if it has no API.

    :param token: an access token of the router; None for an open one.
    :param tls: for ``https``; the certificates of the system unless it is given.
    """
    router = PortalClient(parse_url(url), token, tls)
    await router.call("GET", "", repeat=False)
    yield router
