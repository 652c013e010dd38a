"""``pagent run``: one command, reachable on a local port; its bytes go through an agent's link."""

from __future__ import annotations

import click


@click.command(short_help="Run a command and open its port locally.", context_settings={"ignore_unknown_options": True})
@click.option("--agent", metavar="HOST:PORT", help="An agent that listens; without it one is started inside.")
@click.option("--token", metavar="T", envvar="PAGENT_TOKEN", help="A token that this agent accepts.")
@click.option("--open", "port", type=click.IntRange(0, 65535), default=0, help="Local port; default: any free one.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(agent: str | None, token: str | None, port: int, command: tuple[str, ...]) -> None:
    """Run COMMAND as a job and open http://127.0.0.1:PORT/ to it.

    The job's port is chosen by the agent: it stands where COMMAND says {port}, and in the environment as PORT.
    Ctrl-C ends the job. When the job ends by itself, its exit code is ours.

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
    raise SystemExit(loop.run(lambda: run_attached(agent, token or "", port, list(command))))
