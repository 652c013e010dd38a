"""``pagent route``: a router, until a signal ends it."""

from __future__ import annotations

import click

from pagent.cli.options import RouterCommand, RouterOptions, router_options


@click.command(cls=RouterCommand, short_help="Run a router, which agents dial and programs call over HTTP.")
@router_options
@click.option("--with-agent", is_flag=True, help="Run an agent in the same process; its jobs end with the router.")
@click.argument("command", nargs=-1)
def route(options: RouterOptions, with_agent: bool, command: tuple[str, ...]) -> None:
    """Run a router: it holds links to agents, and people and programs reach their jobs through it over HTTP.

    With --with-agent, COMMAND is started as its first job; write {port} where the command takes the port to listen on.

    SIGHUP makes the router read tokens, keys, certificates and the log level again; if standard input is a terminal, it
    ends on SIGHUP as on SIGTERM.

    Exit codes: 0 after a graceful end (SIGTERM, SIGINT, POST /shutdown), 2 for a configuration that cannot be used.
    """
    if command and not with_agent:
        raise click.UsageError("COMMAND needs --with-agent")
    settings = options.start()
    # Here and not above: the router brings all of its libraries along.
    from pagent.cli import loop
    from pagent.cli.routing import run_router

    raise SystemExit(
        loop.run(
            lambda: run_router(
                settings,
                connection_debug=options.connection_debug,
                reread=options.reread,
                with_agent=with_agent,
                command=command,
            )
        )
    )
