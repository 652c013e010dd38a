"""The router itself: its version and features, and the caller's own rights."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from pagent import __version__
from pagent.rpc.directory import Gate
from pagent.web.admission import subject_of
from pagent.web.answers import json_answer
from pagent.web.v1.document import OPENAPI
from pagent.web.v1.views import time_text

#: The features of the API in this release, for clients of several releases.
FEATURES: Final = ("archive", "events", "exec", "files", "jobs", "logs", "samples", "tickets")


class RouterRoutes:
    """``GET /v1``, ``/v1/openapi.json`` and ``/v1/whoami``."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def version(self, request: web.Request) -> web.Response:
        return json_answer({"version": __version__, "features": [*FEATURES]})

    async def openapi(self, request: web.Request) -> web.Response:
        return web.Response(body=OPENAPI, content_type="application/json")

    async def whoami(self, request: web.Request) -> web.Response:
        subject = subject_of(request)
        rights = self._gate.rights(subject)
        quota: dict[str, Any] = {"jobs": rights.jobs, "jobs_per_minute": rights.jobs_per_minute}
        return json_answer(
            {
                "name": subject.name,
                "open": not self._gate.is_closed,
                "scopes": [*subject.scopes],
                "quota": {**quota, "streams": rights.streams},
                "expires_at": time_text(rights.expires),
            }
        )
