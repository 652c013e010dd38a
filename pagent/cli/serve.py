"""``pagent serve``: the agent itself, until it is told to end."""

from __future__ import annotations

import os

import click

from pagent.cli.options import ConfiguredCommand, Options, configured


@click.command(cls=ConfiguredCommand, short_help="Run the agent. Also what pagent does without a command.")
@configured
def serve(options: Options) -> None:
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

    reread = None if _has_terminal() else options.reload
    raise SystemExit(loop.run(lambda: serve_agent(settings, connection_debug=options.connection_debug, reread=reread)))


def _has_terminal() -> bool:
    """Whether standard input is a terminal: SIGHUP says then that it is gone."""
    try:
        return os.isatty(0)
    except OSError:
        return False
