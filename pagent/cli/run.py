"""``pagent run``: one command, reachable on a local port; its bytes go through an agent's link."""

from __future__ import annotations

import click

from pagent.limits import READY_TIMEOUT_MAX_S, READY_TIMEOUT_S

#: Options end at the first word of COMMAND, whose own ones follow.
_SETTINGS = {"allow_interspersed_args": False}


@click.command(short_help="Run a command and open its port locally.", context_settings=_SETTINGS)
@click.option("--agent", metavar="ADDRESS", help="A listening agent, HOST:PORT or wss://...; else one is started here.")
@click.option("--token", metavar="T", envvar="PAGENT_TOKEN", help="A token that this agent accepts.")
@click.option("--open", "port", type=click.IntRange(0, 65535), default=0, help="Local port; default: any free one.")
@click.option(
    "--wait",
    "ready_timeout",
    type=click.FloatRange(0, READY_TIMEOUT_MAX_S, min_open=True),
    default=READY_TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="How long the command may take until its port accepts connections.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(agent: str | None, token: str | None, port: int, ready_timeout: float, command: tuple[str, ...]) -> None:
    """Run COMMAND as a job and open http://127.0.0.1:PORT/ to it.

    The job's port is chosen by the agent: it stands where COMMAND says {port}, and in the environment as PORT.
    The job runs in a new folder of its own, so name files by absolute paths, and it reads nothing from this terminal.

    Ctrl-C ends the job, whose output is shown until it has ended, and the exit code is 0; pressed again, it does so
    without grace. When the job ends by itself, its exit code is ours, 128 plus the number of the signal if one ended
    it; 127 if there is no such command, 126 if it cannot be run, 1 for all that goes wrong around it.

    \b
    pagent run -- python3 -m http.server {port}
    """
    if agent is not None and token is None:
        raise click.UsageError("--agent needs --token")
    # Here and not above: the help of all commands loads this module.
    from pagent import log
    from pagent.cli import loop
    from pagent.cli.attached import run_attached

    log.setup("warning")
    raise SystemExit(loop.run(lambda: run_attached(agent, token or "", port, ready_timeout, list(command))))
