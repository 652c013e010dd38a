"""``docs/limits.rst``, made from the sources: ``make pages`` generates it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from pagent import limits, router_limits
from pagent.config.model import Settings
from pagent.config.router import RouterSettings
from pagent.config.schema import keys

SOURCES = (limits, router_limits)

_HEAD = """\
Limits
======

Made from ``pagent/limits.py``, ``pagent/router_limits.py``, ``pagent/config/model.py`` and ``pagent/config/router.py``
by ``make pages``. A test keeps it equal to them.

What an operator may change
---------------------------

In the configuration file or with ``--set``; the ones that limit something, with their defaults.
"""

_FIXED = """
What is fixed
-------------

What a peer, a job or a client can push against. Sizes are bytes, times are seconds.
"""

#: The keys of the configuration that limit something.
CONFIGURED = (
    "server.accept_tokens", "client.reconnect_delay", "control.allowed_hosts", "jobs.background_threads",
    "jobs.port_ownership", "jobs.max_output_bytes", "proxy.spool_max",
)  # fmt: skip

#: The same, of a router.
OF_A_ROUTER = (
    "server.accept_tokens", "server.pending_max", "control.allowed_hosts", "control.trusted_proxies", "control.head_s",
    "control.idle_s", "control.body_s", "dial.allow", "jobs.linger", "spool.max", "spool.max_all",
)  # fmt: skip


def entries(source: str) -> Iterator[tuple[str, str, list[str]]]:
    """Of each ``#:`` comment and the constants below it: (section, reason, names)."""
    section, reason, names = "", "", list[str]()
    for line in [*source.splitlines(), "# --- end"]:
        name, separator, _ = line.partition(": Final")
        if separator and name.isupper():
            names.append(name)
            continue
        if names and not line.startswith(" "):
            yield section, reason, names
            reason, names = "", []
        if line.startswith("# --- "):
            section = line.strip("#- ")
        elif line.startswith("#:"):
            reason = f"{reason} {line[2:].strip()}".strip()


def all_entries() -> Iterator[tuple[ModuleType, str, str, list[str]]]:
    """The same of all modules of limits, each with its module."""
    for module in SOURCES:
        assert module.__file__ is not None
        for section, reason, names in entries(Path(module.__file__).read_text()):
            yield module, section, reason, names


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for key in keys(Settings):
        if key.name in CONFIGURED or key.name.startswith(("jobs.isolation.max_", "jobs.isolation.cgroup_")):
            parts.append(f"\n``{key.name}`` = {key.default}\n    {key.help}\n")
    parts.append("\nOf a router:\n")
    for key in keys(RouterSettings):
        if key.name in OF_A_ROUTER:
            parts.append(f"\n``{key.name}`` = {key.default}\n    {key.help}\n")
    parts.append(_FIXED)
    last = ""
    for module, section, reason, names in all_entries():
        if not reason:
            continue  # units
        if section != last:
            title = section[:1].upper() + section[1:]
            parts.append(f"\n{title}\n{'~' * len(title)}\n")
            last = section
        values = ", ".join(f"``{name}`` = {getattr(module, name):,}" for name in names)
        parts.append(f"\n{values}\n    {reason}\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
