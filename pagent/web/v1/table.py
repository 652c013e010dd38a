"""The table of the routes of ``/v1``. The file openapi.json is held to it by a test."""

from __future__ import annotations

from typing import Final

from pagent.access import operations
from pagent.rpc.directory import Gate
from pagent.web.route import Route, named
from pagent.web.routes import Routes
from pagent.web.v1.agents import AgentRoutes
from pagent.web.v1.archives import ArchiveAccess
from pagent.web.v1.creation import JobCreationRoute
from pagent.web.v1.document import checked_routes
from pagent.web.v1.event_feed import EventFeed
from pagent.web.v1.events import EventRoutes
from pagent.web.v1.exec import ExecRoutes
from pagent.web.v1.files import FileAccess
from pagent.web.v1.jobs import JobViews
from pagent.web.v1.lifecycle import JobActions
from pagent.web.v1.logs import OutputRoutes
from pagent.web.v1.pools import PoolRoutes
from pagent.web.v1.router import RouterRoutes
from pagent.web.v1.tickets import TicketRoutes

_FILE: Final = "/v1/jobs/{job}/files/{path:(?s:.*)}"


def v1_routes(routes: Routes, gate: Gate, feed: EventFeed) -> list[Route]:
    """Return all routes of the API. ``feed``: that of the router, for all its listeners."""
    router, agents, jobs = RouterRoutes(gate), AgentRoutes(routes), JobViews(routes, gate)
    tickets, pools = TicketRoutes(routes, gate), PoolRoutes(routes, gate)
    creation, actions = JobCreationRoute(routes, jobs, tickets), JobActions(routes, jobs)
    files, archives = FileAccess(routes), ArchiveAccess(routes)
    events = EventRoutes(feed, gate)
    table = [
        Route("GET", "/v1", operations.NONE, router.version),
        Route("GET", "/v1/openapi.json", operations.NONE, router.openapi),
        Route("GET", "/v1/whoami", operations.READ, router.whoami),
        Route("GET", "/v1/agents", operations.READ, agents.listing),
        Route("GET", "/v1/agents/{agent}", operations.READ, agents.show),
        Route("PATCH", "/v1/agents/{agent}", operations.ADMIN, agents.change, named("host_cordon")),
        Route("GET", "/v1/events", operations.READ, events.stream),
        Route("GET", "/v1/jobs", operations.READ, jobs.listing),
        Route("POST", "/v1/jobs", operations.JOBS, creation.create, named("job_create")),
        Route("GET", "/v1/jobs/{job}", operations.READ, jobs.show),
        Route("DELETE", "/v1/jobs/{job}", operations.JOBS, actions.remove, named("job_remove")),
        Route("POST", "/v1/jobs/{job}/kill", operations.JOBS, actions.kill, named("job_kill")),
        Route("POST", "/v1/jobs/{job}/start", operations.JOBS, actions.start, named("job_start")),
        Route("GET", "/v1/jobs/{job}/tickets", operations.TICKETS, tickets.listing),
        Route("POST", "/v1/jobs/{job}/tickets", operations.TICKETS, tickets.create, named("ticket_create")),
        Route("DELETE", "/v1/jobs/{job}/tickets/{ticket}", operations.TICKETS, tickets.revoke, named("ticket_revoke")),
        Route("GET", "/v1/jobs/{job}/wait", operations.READ, actions.wait),
        Route("GET", "/v1/jobs/{job}/exec", operations.EXEC, ExecRoutes(routes).run, named("job_exec")),
        Route("GET", "/v1/jobs/{job}/logs", operations.LOGS, OutputRoutes(routes).show),
        Route("GET", "/v1/jobs/{job}/archive", operations.FILES, archives.show),
        Route("PUT", "/v1/jobs/{job}/archive", operations.FILES, archives.store, named("archive_upload")),
        Route("GET", "/v1/jobs/{job}/files", operations.FILES, files.folder),
        Route("GET", _FILE, operations.FILES, files.show),
        Route("HEAD", _FILE, operations.FILES, files.head),
        Route("PUT", _FILE, operations.FILES, files.store, named("file_upload")),
        Route("DELETE", _FILE, operations.FILES, files.remove, named("file_remove")),
        Route("GET", "/v1/pools", operations.READ, pools.listing),
        Route("GET", "/v1/pools/{pool}", operations.READ, pools.show),
    ]
    return checked_routes(table)
