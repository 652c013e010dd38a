"""The configuration of a router; :mod:`pagent.config.model` has how a key is declared.

Keys and defaults are the contract of docs/router.rst, "Configuration".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pagent.config.model import (
    REQUIRED,
    DashboardSettings,
    LogLevel,
    ServerTls,
    interface_setting,
    port_setting,
    section,
    setting,
)
from pagent.limits import GIB


@dataclass(frozen=True)
class RouterIdentity:
    name: str = setting("router", "Name of this router that agents display.")
    uid: str | None = setting(
        None,
        "Id by which agents recognise this router; null: a random one at each start, so that jobs of the last run are"
        " not found again.",
        nonempty=True,
    )


@dataclass(frozen=True)
class AcceptedToken:
    token: str = setting(REQUIRED, "The token.", nonempty=True, secret=True)
    uid: str = setting("*", "Pattern of the uids that agents with this token may have.", nonempty=True)


@dataclass(frozen=True)
class RouterServer:
    enabled: bool = setting(True, "Listen for agents, which dial in at /rpc/v1.")
    interface: str | None = interface_setting("Address that agents dial; null: all addresses of both families.")
    port: int = port_setting("Port that agents dial; 0: any free one.")
    accept_tokens: tuple[AcceptedToken, ...] = setting(
        (),
        "Tokens that agents may present, each a string, or a map of token and uid, a pattern of the uids that agents"
        " with this token may have; with an empty list every agent is refused.",
        nonempty=True,
        secret=True,
        short="token",
    )
    accept_tokens_file: Path | None = setting(
        None, "File with further such tokens, one a line, # comments; read again on SIGHUP; null: none."
    )
    tls: ServerTls = section(ServerTls, "TLS of this listener.")
    pending_max: int = setting(
        1024,
        "Agents that may be in their handshake at once; at most an eighth of the descriptors of this process.",
        minimum=1,
    )


@dataclass(frozen=True)
class RouterControl:
    enabled: bool = setting(True, "Serve the HTTP API and the jobs' traffic.")
    interface: str | None = interface_setting("Address of the HTTP API and of the jobs' traffic; null: all addresses.")
    port: int = port_setting("Port of the HTTP API and of the jobs' traffic; 0: any free one.")
    tls: ServerTls = section(ServerTls, "TLS of this listener.")
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "Addresses, or networks such as 10.0.0.0/8, of proxies whose X-Forwarded-* fields are believed.",
        nonempty=True,
    )
    allowed_hosts: tuple[str, ...] = setting(
        (),
        "Host names that callers may use for a listener on the loopback, in addition to those of the loopback. In a"
        " closed router: the names under which proxies name users; empty: those that no browser can have dialled here.",
        nonempty=True,
    )
    proxy_protocol: bool = setting(
        False, "Expect a PROXY protocol header, version 2, from the addresses of control.trusted_proxies."
    )
    head_s: float = setting(10.0, "Seconds that the head of a request may take once it has begun.", minimum=0.1)
    idle_s: float = setting(75.0, "Seconds that a connection may stay open without a request.", minimum=0.1)
    body_s: float = setting(60.0, "Seconds that the body of a request may make no progress.", minimum=0.1)
    drain_s: float = setting(
        8.0,
        "Seconds that requests under way may take when the router ends; then they are answered with 503.",
        minimum=0.0,
    )
    access_log: bool = setting(False, "Log one line of JSON for each request.")


@dataclass(frozen=True)
class RouterApps:
    enabled: bool = setting(False, "Listen for traffic of jobs under names of their own.")
    interface: str | None = interface_setting("Address of this listener; null: all addresses of both families.")
    port: int = port_setting("Port of this listener; 0: any free one.")
    domain: str = setting(
        "localhost",
        "Domain of the jobs' host names, which are <job>.<domain> and <job>--<port>.<domain>.",
        nonempty=True,
    )
    url: str | None = setting(
        None,
        "Address of a job as clients outside reach it, such as https://{job}.apps.example.org; null: made of domain and"
        " port.",
        nonempty=True,
    )
    paths: bool = setting(
        False, "Serve jobs below /<job>/ as well: all share one origin, so only for jobs that trust each other."
    )
    frame_origins: tuple[str, ...] = setting(
        (), "Origins whose pages may frame jobs that are opened with a ticket for embedding.", nonempty=True
    )
    tls: ServerTls = section(ServerTls, "TLS of this listener.")
    proxy_protocol: bool = setting(
        False, "Expect a PROXY protocol header, version 2, from the addresses of control.trusted_proxies."
    )


@dataclass(frozen=True)
class RouterClient:
    polling_delay: float = setting(
        5.0,
        "Seconds between two requests to an agent that was dialled for a job, which ask whether it has jobs left.",
        minimum=0.1,
    )


@dataclass(frozen=True)
class AccessQuota:
    jobs: int | None = setting(None, "Jobs that it may have at once; null: any number.", minimum=0)
    jobs_per_minute: int | None = setting(None, "Jobs that it may create in a minute; null: any number.", minimum=0)
    streams: int | None = setting(
        None,
        "Requests to jobs, WebSockets, transfers and other streams that it may have at once; null: any number.",
        minimum=0,
    )


@dataclass(frozen=True)
class AccessToken:
    name: str = setting(REQUIRED, "The name of the token: the owner of its jobs.", nonempty=True)
    sha256: str = setting(REQUIRED, "SHA-256 of the token, in hexadecimal digits.", nonempty=True, secret=True)
    scopes: tuple[str, ...] = setting(REQUIRED, "What it may be used for.", nonempty=True)
    expires: datetime | None = setting(None, "The time from which it is not accepted; null: none.")
    quota: AccessQuota = section(AccessQuota, "What it may use at once.")


@dataclass(frozen=True)
class AccessHeader:
    name: str = setting(REQUIRED, "The field in which a trusted proxy names the user.", nonempty=True)
    scopes: tuple[str, ...] = setting(REQUIRED, "What each user may do.", nonempty=True)


@dataclass(frozen=True)
class Access:
    tokens: tuple[AccessToken, ...] = setting(
        (), "Tokens of people and programs, each a map of name, sha256, scopes, expires and quota."
    )
    tokens_file: Path | None = setting(
        None, "File with further such tokens, which pagent token edits; read again on SIGHUP; null: none."
    )
    keys_file: Path | None = setting(
        None,
        "File with the keys that sign tickets, one a line, of mode 0600: the first signs, all verify; the same for all"
        " routers of a site; read again on SIGHUP; null: a random key of this process.",
    )
    header: AccessHeader | None = setting(
        None, "A map of name, a field in which control.trusted_proxies name the user, and scopes; null: none."
    )
    open: bool = setting(
        False, "Whether what goes beyond the original router's API is served on other addresses than the loopback, too."
    )

    @property
    def is_closed(self) -> bool:
        """Whether requests need a token or a user."""
        return bool(self.tokens) or self.tokens_file is not None or self.header is not None


@dataclass(frozen=True)
class DialledAgent:
    address: str = setting(REQUIRED, "The agent to keep a link to, host:port or wss://host:port.", nonempty=True)
    token_file: Path | None = setting(None, "File whose first line is the token to present; read again on SIGHUP.")


@dataclass(frozen=True)
class DialSettings:
    allow: tuple[str, ...] | None = setting(
        None,
        "Hosts, host:port pairs and networks that callers may have dialled; null: any in an open router, the loopback"
        " in a closed one.",
        nonempty=True,
    )
    agents: tuple[DialledAgent, ...] = setting(
        (), "Agents that the router keeps a link to, each a map of address and token_file.", short="address"
    )


@dataclass(frozen=True)
class RouterJobs:
    linger: float = setting(
        3600.0, "Seconds that a job outlives the last link of this router to its agent.", minimum=0.0
    )


@dataclass(frozen=True)
class PoolHost:
    uid: str | None = setting(None, "Uid of the agent that runs the commands; null: any.", nonempty=True)
    properties: Mapping[str, str] = setting(dict, "Properties of the agent that runs the commands, with * and ?.")


@dataclass(frozen=True)
class PoolSettings:
    command: tuple[str, ...] = setting(REQUIRED, "The foreground command that starts an agent.", nonempty=True)
    cleanup: tuple[str, ...] = setting((), "A command to run after the end of an agent.", nonempty=True)
    on: PoolHost = section(PoolHost, "The agent that runs the commands.")
    addresses: tuple[str, ...] = setting(
        (), "Addresses of the routers for the agents; none: that of this router's server.", nonempty=True
    )
    max: int = setting(20, "Agents at a time; further requests wait.", minimum=1)
    idle_s: float = setting(600.0, "Seconds without jobs after which an agent ends.", minimum=0.0)
    queue_s: float = setting(7200.0, "Seconds that a command may take to start the agent.", minimum=1.0)
    start_s: float = setting(300.0, "Seconds that an agent may take to come after its start.", minimum=1.0)


@dataclass(frozen=True)
class SpoolSettings:
    root: Path | None = setting(
        None,
        "Folder for data that agents without flow control send faster than a client reads; null: the temporary folder.",
    )
    max: int = setting(GIB, "Bytes that one stream may keep there.", minimum=0)
    max_all: int = setting(10 * GIB, "Bytes that all streams together may keep there.", minimum=0)


@dataclass(frozen=True)
class RouterSettings:
    """The whole configuration of a router, made by `load.load_model`."""

    identity: RouterIdentity = section(RouterIdentity, "Name and id of the router.")
    server: RouterServer = section(RouterServer, "Agents dial the router.")
    control: RouterControl = section(RouterControl, "The HTTP API and the jobs' traffic.")
    apps: RouterApps = section(RouterApps, "A host name for each job. Limits and trusted_proxies are those of control.")
    dashboard: DashboardSettings = section(
        DashboardSettings,
        "A page for browsers. Limits, trusted_proxies and allowed_hosts are those of control. A closed router has no"
        " token_file: its tokens are valid here.",
    )
    client: RouterClient = section(RouterClient, "The router dials agents that jobs/create names by address.")
    access: Access = section(Access, "Access of clients to the router.")
    dial: DialSettings = section(DialSettings, "What the router dials.")
    jobs: RouterJobs = section(RouterJobs, "Jobs that are created through the router.")
    spool: SpoolSettings = section(SpoolSettings, "Data on disk for slow clients of agents without flow control.")
    pools: Mapping[str, PoolSettings] = setting(
        dict,
        "Agents on demand, by the name of the pool; each a map of command, cleanup, on, addresses, max, idle_s, queue_s"
        " and start_s.",
    )
    ready_wait: float = setting(
        15.0,
        "Seconds after the start within which agents are expected back: a job not found then is 503 and not 404.",
        minimum=0.0,
    )
    log_level: LogLevel | None = setting(
        None, "Least level that is logged; read again on SIGHUP; null: that of --log-level."
    )
