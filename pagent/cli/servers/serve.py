"""``pagent serve``: run an agent until a signal ends it."""

from __future__ import annotations

import click

from pagent.cli.servers.options import AgentCommand, AgentOptions, agent_options
from pagent.names import JOINING


@click.command(cls=AgentCommand, short_help="Run an agent (the default command).")
@agent_options
def serve(options: AgentOptions) -> None:
    """Run an agent. It accepts links of routers, or dials one, and runs their jobs.

    SIGTERM and SIGINT end the agent and its jobs. SIGHUP reads tokens, keys, certificates, log level and properties
    again; if standard input is a terminal, SIGHUP ends the agent.

    With --join the agent dials the routers that the data names, and ends by itself after a time without jobs.

    \b
    Exit codes:
      0    ended by SIGTERM, SIGINT or POST /shutdown; with --join: by itself
      1    the link was lost, and client.exit_on_fail is set
      2    invalid options or configuration

    \b
    Examples:
      # Accept links on port 7000 of all addresses
      pagent serve --token-file token --set server.interface=None --set server.port=7000
      # Use a configuration file
      pagent serve --config config/listening.yaml
    """
    settings = options.start()
    # Imported here because an agent imports many libraries.
    from pagent.cli import loop
    from pagent.cli.servers.serve_work import run_agent

    debug, join = options.connection_debug, options.join
    if join is not None:
        click.echo(JOINING)
    raise SystemExit(loop.run(lambda: run_agent(settings, connection_debug=debug, reread=options.reread, join=join)))
