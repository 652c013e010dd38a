"""``pagent doctor``: check what this host offers, a configuration, and the way to an agent or a router."""

from __future__ import annotations

from pathlib import Path

import click

from pagent.cli.target import Target, found_target_options
from pagent.errors import ConfigError


@click.command(short_help="Check this host, a configuration and a link.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--config", "path", type=click.Path(path_type=Path), metavar="FILE", help="Check this configuration, too."
)
@click.option("--router", is_flag=True, help="The configuration is that of a router, not of an agent.")
@found_target_options
def doctor(target: Target | ConfigError | None, as_json: bool, path: Path | None, router: bool) -> None:
    """Check what this host offers to an agent and its jobs: the kernel, isolation, limits, ports, disk and clock.

    With --config also whether the configuration is valid, can be used on this host, and its routers can be reached.
    With --agent, --context or a current context also whether the agent or router answers there: each step of the link,
    up to the first that fails, with advice.

    \b
    Exit codes:
      0    no check has failed; there may be warnings
      1    a check has failed

    \b
    Examples:
      pagent doctor
      pagent doctor --config agent.yaml
      pagent doctor --agent wss://router.example/ --token-file token
      pagent doctor --json --context lab
    """
    # Imported here because the help of all commands imports this module.
    from pagent.cli import loop
    from pagent.cli.interrupt import run_until_interrupted
    from pagent.cli.setup.doctor_work import examine

    raise SystemExit(
        loop.run(lambda: run_until_interrupted(lambda: examine(target, path, of_router=router, as_json=as_json)))
    )
