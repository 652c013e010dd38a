"""The access log: one line of JSON for each request to a job (docs/router.rst, "Access log"). Off by default.

No query, field or body is in it: they may hold secrets. A line is written when the answer is complete or cut off, that
of an upgrade when its tunnel ends.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Final

from pagent.front.routes import JobTarget
from pagent.http1.incoming import IncomingHead
from pagent.log import ACCESS_LOG
from pagent.rpc.directory import Client

_log = logging.getLogger(ACCESS_LOG)

#: Which side has cut an answer off.
CLIENT: Final = "client"
AGENT: Final = "agent"
ROUTER: Final = "router"


#: traceparent, W3C Trace Context section 3.2: version, trace id, parent id and flags.
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


def trace_id(head: IncomingHead) -> str | None:
    """Return the trace id of a request; None if it has no valid one."""
    values = head.values("traceparent")
    match = _TRACEPARENT.fullmatch(values[0]) if len(values) == 1 else None
    if match is None or values[0].startswith("ff") or not match[1].strip("0"):
        return None
    return match[1]


class AccessEntry:
    """The line of one request; the attributes are set as they become known."""

    __slots__ = ("_began", "_client", "_head", "_request_id", "_wall", "agent", "job", "subject")

    def __init__(self, head: IncomingHead, client: Client, request_id: str) -> None:
        self._head = head
        self._client = client
        self._request_id = request_id
        self._wall = time.time()
        self._began = time.monotonic()
        self.job: JobTarget | None = None
        self.subject: str | None = None
        self.agent: str | None = None

    def write(self, status: int, received: int, sent: int, cut: str | None) -> None:
        """Write the line; ``received`` and ``sent``: bytes of the two bodies. ``status`` 0: there was no answer."""
        job, target = self.job, self._head.target
        line = {
            "time": round(self._wall, 3),
            "id": self._request_id,
            "trace": trace_id(self._head),
            "client": self._client.address,
            "subject": self.subject,
            "agent": self.agent,
            "job": job.job.job_uid if job is not None else None,
            "method": self._head.method,
            "path": (job.target if job is not None else target).partition("?")[0],
            "status": status,
            "received": received,
            "sent": sent,
            "seconds": round(time.monotonic() - self._began, 6),
            "cut": cut,
        }
        _log.info("%s", json.dumps(line))
