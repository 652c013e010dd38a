"""The operations that requests and calls need, and the scope of each (docs/access.rst, "Scopes").

An operation is named after its scope where it has one. A route of the HTTP API names its operation
(:mod:`pagent.web.router_app`); a method that clients call has it here. A request or a call without an operation is
refused by a closed router.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PROBE: Final = "probe"  # /livez, /readyz: of load balancers, which name no host
PAGE: Final = "page"  # the files of the dashboard: the page that asks for a token has none yet
METRICS: Final = "metrics"  # /metrics: of monitors, which use the host's own address
NONE: Final = "none"  # needs no token
UNROUTED: Final = "unrouted"  # no route and no method of this name: needs a token, so that it reveals nothing
RPC: Final = "rpc"  # links of clients: the token may come with their handshake
PROXY: Final = "proxy"  # job traffic: it belongs to the job, whatever page it comes from
APPS: Final = "apps"  # the same on the listener of the jobs' own names
TICKETS: Final = "tickets"  # of the API: opens a job to browsers
WSCONNECT: Final = "wsconnect"  # the same from the API, so not from any page
READ: Final = "read"
JOBS: Final = "jobs"
FILES: Final = "files"
LOGS: Final = "logs"
EXEC: Final = "exec"
ADMIN: Final = "admin"

#: The scopes that a token can have.
SCOPES: Final = (READ, JOBS, PROXY, FILES, LOGS, EXEC, ADMIN)

#: The scope that an operation needs. None: any token will do.
SCOPE_OF: Final[Mapping[str, str | None]] = {
    **{scope: scope for scope in SCOPES},
    APPS: PROXY,
    WSCONNECT: PROXY,
    TICKETS: PROXY,
    METRICS: READ,
    UNROUTED: None,
    RPC: None,
}

#: The operation of each method that clients may call.
METHODS: Final[Mapping[str, str]] = {
    "job_info": READ,
    "job_list": READ,
    "job_wait": READ,
    "job_listening": READ,
    "job_count_current_connection": READ,
    "host_info": READ,
    "agent_list": READ,
    "agent_watch": READ,
    "job_figures": READ,
    "job_create": JOBS,
    "job_start": JOBS,
    "job_run": JOBS,
    "job_kill": JOBS,
    "job_remove": JOBS,
    "job_adopt": JOBS,
    "http_request": PROXY,
    "ws_connect": PROXY,
    "tcp_connect": PROXY,
    "file_upload": FILES,
    "file_download": FILES,
    "file_stat": FILES,
    "file_list": FILES,
    "file_remove": FILES,
    "archive_upload": FILES,
    "archive_download": FILES,
    "job_logs": LOGS,
    "job_exec": EXEC,
    "host_cordon": ADMIN,
    "host_end": ADMIN,
}

#: Methods that change something, and each exec: the audit log has a line for every call of them. A request to the HTTP
#: API that does the same has the same name there.
AUDITED: Final = frozenset(
    (
        "job_create",
        "job_start",
        "job_run",
        "job_kill",
        "job_remove",
        "job_adopt",
        "job_exec",
        "file_upload",
        "file_remove",
        "archive_upload",
        "host_cordon",
        "host_end",
        "ticket_create",
        "ticket_revoke",
        "ticket_enter",
        "shutdown",
        "wsconnect",
    )
)
