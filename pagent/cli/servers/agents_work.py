"""The work of ``pagent agents``."""

from __future__ import annotations

import re
from typing import Any, Final

from pagent.cli.naming import UID_DIGITS
from pagent.cli.terminal.sizes import use_of
from pagent.cli.terminal.tables import print_infos
from pagent.cli.terminal.times import age
from pagent.client import AgentClient
from pagent.errors import MethodNotFoundError

#: A uid that was made, and not chosen: its beginning will do.
_MADE: Final = re.compile("[0-9a-f]{32}")

HEADS: Final = ("NAME", "UID", "STATE", "JOBS", "LOAD", "MEMORY", "SINCE", "VERSION", "POOL", "LINK", "HOST")
#: The side that has made a link, by the role of the router.
_MADE_BY: Final = {"SERVER": "dials in", "CLIENT": "is dialled"}


async def list_agents(client: AgentClient, *, quiet: bool, as_json: bool) -> int:
    """Print the agents, ordered by name and uid."""
    found = sorted(await _agents(client), key=lambda agent: (agent["name"], agent["uid"]))
    print_infos(found, HEADS, row_of, quiet=quiet, as_json=as_json)
    return 0


async def _agents(client: AgentClient) -> list[dict[str, Any]]:
    """Return the agents of a router, or the one agent in the same form."""
    try:
        return await client.agents()
    except MethodNotFoundError:
        figures = await client.host_info()
        if "agents" in figures:
            raise  # a router of an earlier release, whose figures are those of all its agents
    said = client.identity
    described = {key: said.get(key) or {} for key in ("platform", "properties")}
    return [{"uid": _text(said["auth"]["uid"]), "name": _text(said["auth"]["name"]), **described, **figures}]


def _text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def row_of(agent: dict[str, Any]) -> tuple[str, ...]:
    """Return the row of an agent, whose names are its own choice, and which may know no figures."""
    return (
        agent["name"],
        agent["uid"][:UID_DIGITS] if _MADE.fullmatch(agent["uid"]) else agent["uid"],
        "cordoned" if agent.get("cordoned") else "ready",
        _of(agent.get("jobs"), agent.get("jobs_max")),
        _of(agent.get("load"), agent.get("cpus"), digits=1),
        use_of(agent.get("memory_available"), agent.get("memory_total")),
        age(agent.get("connected_at") or agent.get("started_at")),
        agent.get("version") or "-",
        str(agent["properties"].get("pool") or "-"),
        _MADE_BY.get(agent.get("mode", ""), "-"),
        str(agent["platform"].get("node") or "-"),
    )


def _of(number: float | None, most: float | None, *, digits: int = 0) -> str:
    """Return ``3`` or ``3/8``; ``-`` for a number that is not known."""
    if number is None:
        return "-"
    return f"{number:.{digits}f}" + (f"/{most:g}" if most is not None else "")
