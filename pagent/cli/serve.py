"""``pagent serve``: the agent itself, until it is told to end."""

from __future__ import annotations

import click

from pagent.cli.options import AgentCommand, AgentOptions, agent_options


@click.command(cls=AgentCommand, short_help="Run the agent. Also what pagent does without a command.")
@agent_options
def serve(options: AgentOptions) -> None:
    """Run the agent: accept routers or dial one, and run their jobs.

    SIGHUP makes it read tokens, keys, certificates, log level and properties again; if standard input is a terminal, it
    ends on SIGHUP as on SIGTERM.

    Exit codes: 0 after a graceful end (SIGTERM, SIGINT, POST /shutdown), 1 when the link was lost and
    client.exit_on_fail is set, 2 for a configuration that cannot be used.
    """
    settings = options.start()
    # Here and not above: the agent brings all of its libraries along.
    from pagent.agent import serve as serve_agent
    from pagent.cli import loop

    debug = options.connection_debug
    raise SystemExit(loop.run(lambda: serve_agent(settings, connection_debug=debug, reread=options.reread)))
