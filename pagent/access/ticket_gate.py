"""The gate of the apps listener: a cookie of a ticket lets requests in, and all others are judged as elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pagent.access.closed import KnownJobs
from pagent.access.open_tickets import OpenTickets
from pagent.access.own_pages import is_of_other_page
from pagent.access.ticket_cookies import cookie_name, is_secure, values_of
from pagent.access.tickets import Admitted, Tickets
from pagent.errors import AccessDeniedError, NotYetError, RequestRefusedError
from pagent.http1.incoming import IncomingHead
from pagent.http1.job_names import JobName, JobPlace
from pagent.http1.lines import lines_of
from pagent.rpc.directory import Client, JobAddress, Lease, RequestGate, Subject

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_TOKEN_FIELD: Final = "x-pagent-token"
_SUBJECT: Final = "ticket"
_NAVIGATE: Final = "navigate"
_OVER: Final = "the ticket of this browser is not valid any more: get a new address of the job where you got this one"
_OTHER_PAGE: Final = "requests of pages of other jobs and sites are refused where a ticket lets a browser in"


class JobPages(Protocol):
    """The addresses of jobs for browsers."""

    @property
    def is_secure(self) -> bool | None:
        """Whether they are https; None if requests say so."""

    @property
    def frame_origins(self) -> Sequence[str]:
        """The origins whose pages may frame a job that is opened with a ticket for embedding."""

    def place(self, head: IncomingHead) -> JobPlace | None:
        """Return the place that a request is for; None if it is for no job."""

    def page_of(self, origin: str) -> JobName | None:
        """Return the job whose pages have this origin, None if it is of none."""

    def host_source(self, head: IncomingHead, name: JobName) -> str | None:
        """Return the host of a job, with the port that the browser of a request has; None below a path."""


class TicketGate:
    """The gate of the apps listener.

    :param inner: judges requests that no ticket lets in.
    """

    def __init__(
        self, inner: RequestGate, jobs: KnownJobs, tickets: Tickets, open_tickets: OpenTickets, pages: JobPages
    ) -> None:
        self._inner = inner
        self._jobs = jobs
        self._tickets = tickets
        self._open = open_tickets
        self._pages = pages

    def judge(self, operation: str, job: JobAddress | None, head: IncomingHead, client: Client) -> Subject:
        """Return on whose behalf a request is made. RequestRefusedError if it may not pass."""
        cookies = head.own_cookies
        if not cookies or job is None or any(name.lower() == _TOKEN_FIELD for name, _ in head.own):
            return self._inner.judge(operation, job, head, client)
        secure = is_secure(head, client, self._pages.is_secure)
        admitted = self._admitted(job, head, cookies, secure=secure)
        if admitted is None:
            return self._judged(operation, job, head, client)
        self._inner.check_beyond()
        if is_of_other_page(head, job.job_uid, self._pages.page_of, secure=secure):
            raise RequestRefusedError(_FORBIDDEN, _OTHER_PAGE)
        if head.value("sec-fetch-mode") in ("", _NAVIGATE):
            head.answer_lines = self._frame_line(head, admitted)
        entry = admitted.entry
        return Subject(entry.subject, (), f"{_SUBJECT} {entry.ticket} {admitted.key_id} {admitted.until}")

    def _admitted(self, job: JobAddress, head: IncomingHead, cookies: list[str], *, secure: bool) -> Admitted | None:
        """Return the contents of a valid cookie. NotYetError if the job, and so its revocations, are not known yet."""
        place = self._pages.place(head)
        values = [] if place is None else values_of(cookies, cookie_name(place, secure=secure))
        if place is None or not values:
            return None
        if (facts := self._jobs.facts_at(job)) is None:
            absent = self._jobs.not_found(job)
            raise NotYetError(absent.status, str(absent), retry_after_s=absent.retry_after_s)
        return self._tickets.admitted(values, place, facts)

    def _judged(self, operation: str, job: JobAddress, head: IncomingHead, client: Client) -> Subject:
        try:
            return self._inner.judge(operation, job, head, client)
        except AccessDeniedError as error:
            if error.status == _UNAUTHORIZED:
                raise AccessDeniedError(_UNAUTHORIZED, _OVER) from None
            raise

    def _frame_line(self, head: IncomingHead, admitted: Admitted) -> bytes:
        """Return the line of the answer that lets only pages of the job frame it, and those of a portal to embed it.

        A browser uses it instead of the job's X-Frame-Options, and in addition to a Content-Security-Policy of the job.
        """
        ports = admitted.entry.ports
        names = [JobName(admitted.entry.job, port) for port in (None, *ports)] if len(ports) > 1 else []
        own = [origin for name in names if (origin := self._pages.host_source(head, name)) is not None]
        others = self._pages.frame_origins if admitted.embed else ()
        policy = " ".join(["frame-ancestors 'self'", *own, *others])
        return lines_of([("Content-Security-Policy", policy)])

    def check_beyond(self) -> None:
        """Check whether interfaces that the original router does not have are served. RequestRefusedError 403."""
        self._inner.check_beyond()

    def conceal(self, head: IncomingHead, operation: str) -> None:
        """Remove the fields of a request that are for the router alone."""
        self._inner.conceal(head, operation)

    def lease(self, subject: Subject, close: Callable[[], object], *, stream: bool) -> Lease | None:
        """Register a connection or stream of a subject. A ticket's do not count against the quota of its creator."""
        kind, _, rest = subject.credential.partition(" ")
        if kind != _SUBJECT:
            return self._inner.lease(subject, close, stream=stream)
        ticket, key_id, until = rest.split(" ")
        return self._open.open(ticket, key_id, float(until), close)
