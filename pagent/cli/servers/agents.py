"""``pagent agents``: list the agents of a router, or describe the one agent that is dialled."""

from __future__ import annotations

import click

from pagent.cli.target import Target, target_options


@click.command(short_help="List agents.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with times in RFC 3339.")
@click.option("-q", "--quiet", is_flag=True, help="Print uids only.")
@target_options
def agents(target: Target, as_json: bool, quiet: bool) -> None:
    """List the agents that are connected to a router, by name. Of an agent that is dialled, print that one.

    JOBS counts all jobs at an agent, and MEMORY is what is used of the memory of its host. SINCE is the age of the
    link to the router. A cordoned agent takes no new jobs.

    \b
    Examples:
      pagent agents
      pagent agents --json --context lab
    """
    from pagent.cli.remote import run_dialled
    from pagent.cli.servers.agents_work import list_agents

    run_dialled(target, lambda client: list_agents(client, quiet=quiet, as_json=as_json))
