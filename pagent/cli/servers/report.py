"""``pagent report``: run a command in a job, and report its port to the agent once it accepts connections."""

from __future__ import annotations

import click

#: Options after the first word of COMMAND belong to COMMAND.
_SETTINGS = {"allow_interspersed_args": False}


@click.command(short_help="Run a command within a job, and report its port to the agent.", context_settings=_SETTINGS)
@click.option(
    "--ready",
    type=click.Choice(["connect"]),
    default="connect",
    show_default=True,
    help="When to report the port: once it accepts connections.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def report(ready: str, command: tuple[str, ...]) -> None:
    """Run COMMAND within a job, and report its port to the agent.

    Use this in jobs of routers that cannot ask the agent to choose a port. It works with every agent. The job must be
    started with one expected port: then DA__PAGENT__JOB_ENDPOINT and DA__PAGENT__JOB_ID are in its environment.

    COMMAND gets a free port of 127.0.0.1. It replaces {port} in COMMAND, and is in the variable PORT. {port:NAME} is
    another free port, which is not reported. {{port}} is the text {port}. The port is reported as soon as COMMAND
    listens on it.

    Signals are forwarded to COMMAND.

    \b
    Exit codes:
      N      COMMAND exited with N
      128+N  COMMAND was ended by signal N
      1      the agent refused the report; COMMAND has been ended
      2      invalid options
      126    COMMAND cannot be executed
      127    COMMAND is not found

    \b
    Example:
      pagent report -- python3 -m http.server {port} --bind 127.0.0.1
    """
    # Imported here because the help of all commands imports this module.
    from pagent.cli.servers import report_work

    raise SystemExit(report_work.run(command))
