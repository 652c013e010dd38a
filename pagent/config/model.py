"""The configuration of an agent: one frozen dataclass per section, and a help text for each key.

Keys and defaults are part of the contract (docs/contract.rst, "Configuration"). ``pagent serve --help`` and
``default.yaml`` are generated from the help texts here (`schema.keys`). Values are checked against the types and limits
that the fields declare (`schema.build`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pagent.limits import GIB, MIB

PORT_MAX = 65_535

LogLevel = Literal["debug", "info", "warning", "error", "fatal"]


@dataclass(frozen=True, slots=True)
class Rule:
    """The help text and the limits of a key, in the metadata of its field.

    ``minimum`` and ``maximum`` are inclusive and apply to numbers. ``nonempty`` applies to a string and to each string
    of a list; a path is never empty. A ``secret`` value appears in no error text and in no repr. ``short`` is for a
    list of maps: an item that is a string stands for a map with this one key.
    """

    help: str
    minimum: float | None = None
    maximum: float | None = None
    nonempty: bool = False
    secret: bool = False
    short: str | None = None


RULE = "rule"

#: As the default of a field: a map must have this key.
REQUIRED = dataclasses.MISSING


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    nonempty: bool = False,
    secret: bool = False,
    short: str | None = None,
) -> Any:
    """Return a field with its rule. A class as the default (``dict``) is called for each new instance."""
    rule = Rule(help, minimum, maximum, nonempty, secret, short)
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata={RULE: rule}, repr=not secret)
    return dataclasses.field(default=default, metadata={RULE: rule}, repr=not secret)


def port_setting(help: str) -> Any:
    """Return a field for a TCP port to listen on."""
    return setting(0, help, minimum=0, maximum=PORT_MAX)


def interface_setting(help: str) -> Any:
    """Return a field for an address to listen on."""
    return setting("127.0.0.1", help)


def section(cls: type, help: str) -> Any:
    """Return a field that is a section of its own."""
    return dataclasses.field(default_factory=cls, metadata={RULE: Rule(help)})


@dataclass(frozen=True)
class IdentitySettings:
    name: str = setting("agent", "Name of this agent that routers display.")
    uid: str | None = setting(
        None, "Id by which routers recognise this agent; null: a random one at each start.", nonempty=True
    )


@dataclass(frozen=True)
class ServerTls:
    certificate: Path | None = setting(None, "PEM file with the certificate chain of this listener; null: no TLS.")
    key: Path | None = setting(None, "PEM file with the private key of that certificate.")
    ca: Path | None = setting(
        None,
        "PEM file with the authorities that a peer's certificate must come from (mutual TLS); null: none is required.",
    )


@dataclass(frozen=True)
class ServerSettings:
    enabled: bool = setting(True, "Listen for routers (server mode).")
    interface: str | None = interface_setting("Address of the RPC server; null: all addresses of both families.")
    port: int = port_setting("Port of the RPC server; 0: any free one.")
    accept_tokens: tuple[str, ...] = setting(
        (), "Tokens that routers may present; with an empty list every router is refused.", nonempty=True, secret=True
    )
    accept_tokens_file: Path | None = setting(
        None, "File with further such tokens, one a line, # comments; read again on SIGHUP; null: none."
    )
    tls: ServerTls = section(ServerTls, "TLS of the RPC server.")


@dataclass(frozen=True)
class ClientTls:
    ca: Path | None = setting(
        None,
        "PEM file with the authorities that a wss:// router's certificate must come from; null: the system's.",
    )
    certificate: Path | None = setting(None, "PEM file with the certificate to present to the router (mutual TLS).")
    key: Path | None = setting(None, "PEM file with the private key of that certificate.")


@dataclass(frozen=True)
class DialledRouter:
    address: str = setting(REQUIRED, "The router to dial, ws://host:port or wss://host:port/path.", nonempty=True)
    token_file: Path | None = setting(
        None, "File whose first line is the token for this router; read again on SIGHUP; null: the token of the others."
    )


@dataclass(frozen=True)
class ClientSettings:
    enabled: bool = setting(False, "Dial a router (client mode).")
    address: str | tuple[DialledRouter, ...] = setting(
        "",
        "The router to dial, ws://host:port or wss://host:port/path, or a list of routers, each a string or a map of"
        " address and token_file; the agent keeps a link to each.",
        short="address",
    )
    token: str = setting("default", "Token to present to the router.", secret=True)
    token_file: Path | None = setting(
        None, "File whose first line is that token, instead of client.token; read again on SIGHUP; null: none."
    )
    exit_on_fail: bool = setting(
        False, "Exit with code 1 when no link can be made or the last one is lost, instead of dialling again."
    )
    reconnect_delay: float = setting(
        10.0, "Longest pause between two attempts to dial, in seconds; less than 0.1 is 0.1.", minimum=0.0
    )
    proxy: str | None = setting(
        None,
        "HTTP proxy to dial through (CONNECT), http://host:port or http://user:password@host:port; null: the one of"
        " HTTPS_PROXY for wss:// routers that NO_PROXY does not list.",
        nonempty=True,
        secret=True,
    )
    tls: ClientTls = section(ClientTls, "TLS towards a wss:// router.")

    @property
    def routers(self) -> tuple[DialledRouter, ...]:
        """The routers to dial."""
        if isinstance(self.address, str):
            return (DialledRouter(self.address),) if self.address else ()
        return self.address


@dataclass(frozen=True)
class ControlSettings:
    enabled: bool = setting(True, "Serve the control API.")
    interface: str | None = interface_setting("Address of the control API; null: all addresses of both families.")
    port: int = port_setting("Port of the control API; 0: any free one.")
    token: str | None = setting(
        None, "Token that callers of the control API must present; null: none is required.", nonempty=True, secret=True
    )
    token_file: Path | None = setting(
        None, "File with further such tokens, one a line, # comments; read again on SIGHUP; null: none."
    )
    allowed_hosts: tuple[str, ...] = setting(
        (), "Host names that callers may use for the control API, in addition to those of the loopback.", nonempty=True
    )


@dataclass(frozen=True)
class DashboardSettings:
    enabled: bool = setting(False, "Serve the dashboard, a page for browsers.")
    interface: str | None = interface_setting("Address of the dashboard; null: all addresses of both families.")
    port: int = port_setting("Port of the dashboard; 0: any free one.")
    token_file: Path | None = setting(
        None,
        "File with the tokens that may do more than read, one a line, # comments; read again on SIGHUP; null: a random"
        " one, which is printed if standard error is a terminal.",
    )
    tls: ServerTls = section(ServerTls, "TLS of the dashboard.")


@dataclass(frozen=True)
class IsolationSettings:
    user: str | None = setting(
        None,
        "User that jobs run as, by name or number, for an agent that runs as root; null: the agent's.",
        nonempty=True,
    )
    no_new_privs: bool = setting(
        False, "Whether setuid programs and file capabilities give jobs no additional rights (Linux)."
    )
    environment: tuple[str, ...] | None = setting(
        None,
        "Names of the agent's own environment variables that jobs get, with * for any characters; null: all.",
        nonempty=True,
    )
    max_files: int | None = setting(None, "Open files of each process of a job; null: as the agent's.", minimum=8)
    max_processes: int | None = setting(
        None, "Processes of the user that jobs run as, all together (not for root); null: as the agent's.", minimum=1
    )
    max_memory_bytes: int | None = setting(
        None, "Address space of each process of a job; null: as the agent's.", minimum=1024 * 1024
    )
    max_cpu_seconds: int | None = setting(
        None,
        "CPU time after which a process of a job gets SIGXCPU, and 5 s later SIGKILL; null: as the agent's.",
        minimum=1,
    )
    cgroup: Path | None = setting(
        None, "Folder of a cgroup (version 2) that the agent may write to: each job gets one in it; null: none."
    )
    cgroup_memory_bytes: int | None = setting(
        None, "Memory of a job's cgroup, all its processes together; null: no limit.", minimum=1024 * 1024
    )
    cgroup_processes: int | None = setting(None, "Processes and threads of a job's cgroup; null: no limit.", minimum=1)
    cgroup_cpus: float | None = setting(
        None, "CPUs that a job's cgroup may use, 0.5 for half of one; null: no limit.", minimum=0.01
    )


@dataclass(frozen=True)
class JobSettings:
    root: Path | None = setting(None, "Folder of the sandboxes; null: the system's temporary folder.")
    background_threads: int = setting(
        1, "Threads for the disk work of one job at a time; all jobs together have at least four.", minimum=1
    )
    port_ownership: Literal["off", "warn", "enforce"] = setting(
        "warn", "Whether a process of the job must listen on the port that the job reports."
    )
    max_output_bytes: int | None = setting(
        None,
        "Largest size of each output file of a job, beyond which the oldest half is dropped; null: no limit.",
        minimum=1,
    )
    max: int | None = setting(None, "Jobs at a time, of all peers; null: no limit.", minimum=1)
    allow_folders: tuple[str, ...] = setting(
        (),
        "Absolute paths of folders outside the sandboxes that jobs may run in; nothing in them is deleted.",
        nonempty=True,
    )
    isolation: IsolationSettings = section(
        IsolationSettings, "Restrictions of jobs, most of which the kernel enforces (Linux)."
    )


@dataclass(frozen=True)
class ProxySettings:
    spool_max: int = setting(
        GIB, "Bytes that one stream may keep on disk for a peer that is slower than the job.", minimum=0
    )
    memory_max: int | None = setting(
        None,
        "Bytes that all streams together may keep in memory for jobs and peers that do not take them, before more goes "
        "to disk or is refused; null: an eighth of the machine's memory, at least 256 MiB.",
        minimum=MIB,
    )


@dataclass(frozen=True)
class Settings:
    """The whole configuration of an agent, made by `load.load`."""

    identity: IdentitySettings = section(IdentitySettings, "Name and id of the agent.")
    server: ServerSettings = section(ServerSettings, "Server mode: routers dial the agent.")
    client: ClientSettings = section(ClientSettings, "Client mode: the agent dials a router.")
    control: ControlSettings = section(ControlSettings, "The control API: HTTP and JSON on this machine.")
    dashboard: DashboardSettings = section(
        DashboardSettings,
        "A page for browsers with all jobs. Tokens of control and its allowed_hosts are valid here, too.",
    )
    jobs: JobSettings = section(JobSettings, "Jobs and their sandboxes.")
    proxy: ProxySettings = section(ProxySettings, "Traffic to and from the jobs.")
    log_level: LogLevel | None = setting(
        None, "Lowest level that is logged; read again on SIGHUP; null: that of --log-level."
    )
    properties: Mapping[str, str] = setting(
        dict, "Names and values for routers, which jobs get as DA__PAGENT__<name> in their environment."
    )
