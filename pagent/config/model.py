"""What can be configured: one frozen dataclass per section, each key documented where it stands.

Keys and defaults are the contract of docs/contract.rst, "Configuration". The help text of a key is written
once, here; ``pagent serve --help`` and ``default.yaml`` are generated from it (`schema.keys`), and values are
checked against the types and limits that the fields declare (`schema.build`).
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
    """What is known of a key beside its type. Lives in the metadata of its field.

    ``minimum`` and ``maximum`` are inclusive and hold for numbers. ``nonempty`` holds for a string and for each string
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
    """A field with its rule; a class as the default is called for each new instance (``dict``)."""
    rule = Rule(help, minimum, maximum, nonempty, secret, short)
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata={RULE: rule}, repr=not secret)
    return dataclasses.field(default=default, metadata={RULE: rule}, repr=not secret)


def port_setting(help: str) -> Any:
    """A TCP port to listen on."""
    return setting(0, help, minimum=0, maximum=PORT_MAX)


def interface_setting(help: str) -> Any:
    """An address to listen on."""
    return setting("127.0.0.1", help)


def section(cls: type, help: str) -> Any:
    """A field that is a section of its own."""
    return dataclasses.field(default_factory=cls, metadata={RULE: Rule(help)})


@dataclass(frozen=True)
class Identity:
    name: str = setting("agent", "Name of this agent as routers show it.")
    uid: str | None = setting(
        None, "What routers tell agents apart by; null: a new one at each start, made at random.", nonempty=True
    )


@dataclass(frozen=True)
class ServerTls:
    certificate: Path | None = setting(None, "PEM file with the certificate chain of this listener; null: no TLS.")
    key: Path | None = setting(None, "PEM file with the private key of that certificate.")
    ca: Path | None = setting(
        None,
        "PEM file with the authorities that a peer's certificate must come from (mutual TLS); null: none is asked.",
    )


@dataclass(frozen=True)
class Server:
    enabled: bool = setting(True, "Listen for routers (server mode).")
    interface: str | None = interface_setting("Address of the RPC server; null: all addresses of both families.")
    port: int = port_setting("Port of the RPC server; 0: any free one.")
    accept_tokens: tuple[str, ...] = setting(
        (), "Tokens that routers may present; an empty list lets no one in.", nonempty=True, secret=True
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
    certificate: Path | None = setting(None, "PEM file with the certificate that is shown to the router (mutual TLS).")
    key: Path | None = setting(None, "PEM file with the private key of that certificate.")


@dataclass(frozen=True)
class Client:
    enabled: bool = setting(False, "Dial a router (client mode).")
    address: str = setting("", "The router to dial, ws://host:port or wss://host:port/path.")
    token: str = setting("default", "Token to present to the router.", secret=True)
    token_file: Path | None = setting(
        None, "File whose first line is that token, instead of client.token; read again on SIGHUP; null: none."
    )
    exit_on_fail: bool = setting(
        False, "Exit with code 1 when the link cannot be made or is lost, instead of dialling on."
    )
    reconnect_delay: float = setting(
        10.0, "Longest pause between two attempts to dial, in seconds; less than 0.1 is 0.1.", minimum=0.0
    )
    tls: ClientTls = section(ClientTls, "TLS towards a wss:// router.")


@dataclass(frozen=True)
class Control:
    enabled: bool = setting(True, "Serve the control API.")
    interface: str | None = interface_setting("Address of the control API; null: all addresses of both families.")
    port: int = port_setting("Port of the control API; 0: any free one.")
    token: str | None = setting(
        None, "Token that callers of the control API must present; null: none is asked for.", nonempty=True, secret=True
    )
    token_file: Path | None = setting(
        None, "File with further such tokens, one a line, # comments; read again on SIGHUP; null: none."
    )
    allowed_hosts: tuple[str, ...] = setting(
        (), "Host names, beside those of the loopback, that callers may use for it.", nonempty=True
    )


@dataclass(frozen=True)
class Isolation:
    user: str | None = setting(
        None,
        "User that jobs run as, by name or number, which takes an agent of root; null: the agent's.",
        nonempty=True,
    )
    no_new_privs: bool = setting(False, "Whether setuid programs and the like give jobs no rights (Linux).")
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
        None, "CPU time after which a process of a job is ended; null: as the agent's.", minimum=1
    )
    cgroup: Path | None = setting(
        None, "Folder of a cgroup (version 2) that the agent may write to: each job gets one in it; null: none."
    )
    cgroup_memory_bytes: int | None = setting(
        None, "Memory of a job's cgroup, all its processes together; null: no limit.", minimum=1024 * 1024
    )
    cgroup_processes: int | None = setting(None, "Processes and threads of a job's cgroup; null: no limit.", minimum=1)
    cgroup_cpus: float | None = setting(None, "CPUs' worth of time of a job's cgroup; null: no limit.", minimum=0.01)


@dataclass(frozen=True)
class Jobs:
    root: Path | None = setting(None, "Folder of the sandboxes; null: the system's temporary folder.")
    background_threads: int = setting(
        1, "Threads for the disk work of one job at a time; all jobs together have at least four.", minimum=1
    )
    port_ownership: Literal["off", "warn", "enforce"] = setting(
        "warn", "Whether a process of the job must listen on the port that the job reports."
    )
    max_output_bytes: int | None = setting(
        None, "Cap on each output file of a job, the oldest half is dropped; null: no cap.", minimum=1
    )
    allow_folders: tuple[str, ...] = setting(
        (),
        "Absolute paths of folders outside of the sandboxes that jobs may run in; nothing in them is deleted.",
        nonempty=True,
    )
    isolation: Isolation = section(Isolation, "What jobs are kept from; most of it is the kernel's (Linux).")


@dataclass(frozen=True)
class Proxy:
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
    """The whole configuration; `load.load` makes one."""

    identity: Identity = section(Identity, "Who the agent is.")
    server: Server = section(Server, "Server mode: routers dial the agent.")
    client: Client = section(Client, "Client mode: the agent dials a router.")
    control: Control = section(Control, "The control API: HTTP and JSON on this machine.")
    jobs: Jobs = section(Jobs, "Jobs and their sandboxes.")
    proxy: Proxy = section(Proxy, "Traffic to and from the jobs.")
    log_level: LogLevel | None = setting(
        None, "Least level that is logged; read again on SIGHUP; null: that of --log-level."
    )
    properties: Mapping[str, str] = setting(
        dict, "Names and values that routers see and that jobs get as DA__PAGENT__<name> in their environment."
    )
