"""The work of ``pagent doctor``."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from pagent.cli.setup.checks import Check, Level, failed, for_programs, ok, print_checks, warning
from pagent.cli.setup.host_checks import host_checks
from pagent.cli.setup.link_checks import link_checks
from pagent.cli.target import Target
from pagent.cli.terminal.tables import print_json
from pagent.config.load import load_model
from pagent.config.model import Settings
from pagent.config.reference import MODELS
from pagent.config.router import RouterSettings
from pagent.config.tokens import load_accepted, load_tokens
from pagent.errors import ConfigError
from pagent.jobs.isolation import Confinement
from pagent.net.tls import client_context, server_context


async def examine(target: Target | ConfigError | None, path: Path | None, *, of_router: bool, as_json: bool) -> int:
    """Make all checks and print them; return 1 if one has failed."""
    checks = []
    async for check in _all_checks(target, path, of_router):
        checks.append(check)
        if not as_json:
            print_checks([check])  # at once: a step of a link may take its time
    if as_json:
        print_json(for_programs(checks))
    return int(any(check.level is Level.FAILED for check in checks))


async def _all_checks(target: Target | ConfigError | None, path: Path | None, of_router: bool) -> AsyncIterator[Check]:
    settings, fault = _read(path, of_router)
    root = settings.jobs.root if isinstance(settings, Settings) else None
    for check in host_checks(root):
        yield check
    if fault is not None:
        yield fault
    if settings is not None:
        for check in _configured(settings, path):
            yield check
    if isinstance(settings, Settings):
        async for check in _routers(settings):
            yield check
    if isinstance(target, ConfigError):
        yield failed("context", str(target), "pagent context --help explains contexts.")
    elif target is not None:
        async for check in _steps(target):
            yield check


def _read(path: Path | None, of_router: bool) -> tuple[Settings | RouterSettings | None, Check | None]:
    """Return the settings of a file, or the check that has failed; neither without a file."""
    if path is None:
        return None, None
    try:
        return load_model(MODELS["router" if of_router else "agent"][0], path), None
    except ConfigError as error:
        return None, failed("configuration", str(error), "pagent config example prints every key with its meaning.")


def _configured(settings: Settings | RouterSettings, path: Path | None) -> Iterator[Check]:
    """Yield whether a valid configuration can be used here: its files, the isolation of jobs, its ports."""
    yield ok("configuration", f"{path} is valid")
    try:
        if isinstance(settings, Settings):
            load_tokens(settings, os.environ)
            server_context(settings.server.tls)
            client_context(settings.client.tls)
            Confinement(settings.jobs.isolation)
        else:
            load_accepted(settings)
            server_context(settings.server.tls)
    except ConfigError as error:
        yield failed("configuration", str(error), "The process would end with this message at its start.")
    for name in ("server", "control"):
        section = getattr(settings, name)
        if section.enabled if hasattr(section, "enabled") else True:
            yield from _port(f"{name}.port", section.interface, section.port)


def _port(name: str, interface: str | None, port: int) -> Iterator[Check]:
    if not port:
        return
    host = interface or "0.0.0.0"
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        text = f"port {port} of {interface or 'all addresses'} cannot be opened: {error.strerror}"
        yield warning(name, text, "Fine if the agent or router with this configuration runs; pagent help port-taken.")
    else:
        yield ok(name, f"port {port} of {interface or 'all addresses'} can be opened")


async def _routers(settings: Settings) -> AsyncIterator[Check]:
    """Yield the steps to the routers that an agent with these settings dials. No token is presented."""
    client = settings.client
    for router in client.routers if client.enabled else ():
        try:
            context = client_context(client.tls)
            async for check in link_checks(router.address, None, tls=context, proxy=client.proxy):
                yield check
        except ConfigError as error:
            yield failed("client.address", str(error), "Correct the address.")


async def _steps(target: Target) -> AsyncIterator[Check]:
    try:
        async for check in link_checks(target.address, target.token or None):
            yield check
            if check.level is Level.FAILED:
                return
    except ConfigError as error:
        yield failed("address", str(error), "Write HOST:PORT, ws://HOST:PORT/PATH or wss://HOST/PATH.")
        return
    if not target.token:
        yield warning("token", "none is given, so none was tried", "Use --token-file FILE; pagent help no-token.")
