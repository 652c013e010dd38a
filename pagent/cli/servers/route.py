"""``pagent route``: run a router until a signal ends it."""

from __future__ import annotations

import click

from pagent.cli.servers.options import RouterCommand, RouterOptions, router_options


@click.command(cls=RouterCommand, short_help="Run a router.")
@router_options
@click.option("--with-agent", is_flag=True, help="Run an agent in the same process. Its jobs end with the router.")
@click.argument("command", nargs=-1)
def route(options: RouterOptions, with_agent: bool, command: tuple[str, ...]) -> None:
    """Run a router. It holds links to agents; people and programs use their jobs through it over HTTP.

    With --with-agent, COMMAND is started as the first job. It gets a free port, which replaces {port} in COMMAND.

    SIGTERM and SIGINT end the router. SIGHUP reads tokens, keys, certificates and log level again; if standard input is
    a terminal, SIGHUP ends the router.

    \b
    Exit codes:
      0    ended by SIGTERM, SIGINT or POST /shutdown
      1    COMMAND could not be started
      2    invalid options or configuration

    \b
    Examples:
      # Use a configuration file
      pagent route --config config/router.yaml
      # Run a program, a router and an agent on this machine
      pagent route --with-agent --set control.port=8161 -- python3 -m http.server {port}
    """
    if command and not with_agent:
        raise click.UsageError("COMMAND requires --with-agent")
    settings = options.start()
    # Imported here because a router imports many libraries.
    from pagent.cli import loop
    from pagent.cli.servers.route_work import run_router

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
