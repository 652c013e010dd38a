"""Ask the gate about each request to the router's API, and write the audit log.

A request is judged by the head that the front has read, by the operation of its route, and on the job that its handler
then uses: both take it from the same place.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from pagent.access import operations
from pagent.access.audit import AuditEntry, audited, result_of
from pagent.errors import NotYetError, RequestRefusedError
from pagent.front.access_log import trace_id
from pagent.rpc.directory import ANY_CONNECTION, Gate, JobAddress, Lease, Subject
from pagent.web.failures import answer_to
from pagent.web.handover import HandedOver
from pagent.web.local import Handler
from pagent.web.route import Action, is_v1
from pagent.web.routes import RoutedAgent, Routes

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_ERROR: Final = 400
#: Operations whose requests count against the quota of streams.
_STREAMS: Final = frozenset((operations.FILES, operations.LOGS, operations.EXEC))


def subject_of(request: web.Request) -> Subject:
    """Return on whose behalf a request is made that has passed the gate."""
    return handed_over(request).subject


def job_of(request: web.Request) -> JobAddress | None:
    """Return the job that a request names in its path."""
    match = request.match_info
    return JobAddress(match.get("connection", ANY_CONNECTION), match["job"]) if "job" in match else None


async def located(routes: Routes, request: web.Request) -> tuple[JobAddress, RoutedAgent]:
    """Return the job that a request names, and its agent."""
    job = job_of(request)
    assert job is not None
    agent = await routes.locate(job)
    note_agent(request, agent)
    return job, agent


def note_agent(request: web.Request, agent: RoutedAgent, job_uid: str | None = None) -> None:
    """Note for the audit log on which agent a request acts, and on which job if its path names none."""
    entry = handed_over(request).audit
    if entry is not None:
        entry.agent = agent.uid
        entry.job = entry.job or job_uid


class ApiAdmission:
    """Admits the requests of one application.

    :param operation_of: the operation of each handler.
    :param action_of: for handlers whose requests have a line in the audit log.
    """

    def __init__(
        self, routes: Routes, gate: Gate, operation_of: Mapping[Any, str], action_of: Mapping[Any, Action]
    ) -> None:
        self._routes = routes
        self._gate = gate
        self._operation_of = operation_of
        self._action_of = action_of

    @property
    def middleware(self) -> Middleware:
        """The outermost middleware: it judges, and hands over to the others."""

        @web.middleware
        async def judged(request: web.Request, handler: Handler) -> web.StreamResponse:
            entry = self._begin(request)
            try:
                lease = await self._admitted(request)
            except RequestRefusedError as error:
                return self._refused(error, entry)
            try:
                return await self._handled(request, handler, entry)
            finally:
                if lease is not None:
                    lease.release()

        return judged

    async def before_the_body(self, request: web.Request) -> web.Response | None:
        """Let the client send the body that it has announced with ``Expect: 100-continue``, if it may pass."""
        try:
            await self._judge(request)
        except RequestRefusedError as error:
            return self._refused(error, self._begin(request))
        if request.transport is not None:
            request.transport.write(_CONTINUE)
        return None

    async def _admitted(self, request: web.Request) -> Lease | None:
        http = handed_over(request)
        http.subject = subject = await self._judge(request)
        if http.audit is not None:
            http.audit.subject = subject.name
        is_stream = self._operation(request) in _STREAMS
        return self._gate.lease(subject, partial(_abort, request), stream=is_stream)

    async def _judge(self, request: web.Request) -> Subject:
        protocol, job, operation = handed_over(request), job_of(request), self._operation(request)
        if is_v1(request.path):
            self._gate.check_beyond()
        try:
            return self._gate.judge(operation, job, protocol.head, protocol.client)
        except NotYetError:
            assert job is not None
            await self._routes.locate(job)
            return self._gate.judge(operation, job, protocol.head, protocol.client)

    def _operation(self, request: web.Request) -> str:
        return self._operation_of.get(request.match_info.handler, operations.UNROUTED)

    # --- the audit log ----------------------------------------------------------------------------

    def _begin(self, request: web.Request) -> AuditEntry | None:
        action = self._action_of.get(request.match_info.handler)
        name = action(request) if action is not None else None
        if name is None:
            return None
        job = job_of(request)
        http = handed_over(request)
        http.audit = AuditEntry(
            name, http.request_id, job=job.job_uid if job is not None else None, trace=trace_id(http.head)
        )
        return http.audit

    @staticmethod
    async def _handled(request: web.Request, handler: Handler, entry: AuditEntry | None) -> web.StreamResponse:
        with audited(entry):
            response = await handler(request)
            if entry is not None and response.status >= _ERROR:
                entry.result = str(response.status)
            return response

    @staticmethod
    def _refused(error: RequestRefusedError, entry: AuditEntry | None) -> web.Response:
        if entry is not None:
            entry.subject = error.subject
            entry.result = result_of(error)
            entry.write()
        return answer_to(error)


def handed_over(request: web.Request) -> HandedOver:
    """Return the connection of a request."""
    protocol = request.protocol
    assert isinstance(protocol, HandedOver)
    return protocol


def _abort(request: web.Request) -> None:
    """Drop the connection of a request whose token has been revoked."""
    if request.transport is not None:
        request.transport.abort()
