"""``pagent report``: run a command in a job, and report its port to the agent once it accepts connections."""

from __future__ import annotations

import click

#: Options end at the first word of COMMAND, whose own ones follow.
_SETTINGS = {"allow_interspersed_args": False}


@click.command(short_help="In a job: run a command and report its port to the agent.", context_settings=_SETTINGS)
@click.option(
    "--ready",
    type=click.Choice(["connect"]),
    default="connect",
    show_default=True,
    help="Report the port once it accepts connections.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def report(ready: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in a job, and report its port to the agent.

    This is for jobs of routers that cannot ask the agent to choose a port. It works with every agent: the job must be
    started with one expected port, so that it has DA__PAGENT__JOB_ENDPOINT and DA__PAGENT__JOB_ID in its environment.

    COMMAND gets a free port of 127.0.0.1: it stands where COMMAND says {port}, and in the environment as PORT. {{port}}
    is a literal {port}, and {port:NAME} is a further free port, which is not reported. The port is reported as soon as
    COMMAND listens on it.

    Signals are passed on to COMMAND. Its exit code is ours, 128 plus the number of the signal if one ended it; 127 if
    there is no such command, 126 if it cannot be run. If the agent refuses the report, COMMAND is ended and the exit
    code is 1.

    \b
    pagent report -- python3 -m http.server {port} --bind 127.0.0.1
    """
    # Here and not above: the help of all commands loads this module.
    from pagent.cli import reporting

    raise SystemExit(reporting.run(command))
