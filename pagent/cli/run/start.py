"""``pagent start``: start a job in the background of an agent."""

from __future__ import annotations

from pathlib import Path

import click

from pagent.cli.job_options import COMMAND_SETTINGS, EXISTING_FOLDER, wait_option
from pagent.cli.run.environment import environment_options
from pagent.cli.run.pool_options import PoolChoice, pool_options
from pagent.cli.target import Target, target_options
from pagent.limits import LINGER_MAX_S


@click.command(short_help="Start a job in the background.", context_settings=COMMAND_SETTINGS)
@click.option("--name", metavar="NAME", help="Name of the job, which other commands accept.")
@environment_options
@pool_options
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="The port that COMMAND listens on. Default: a free port if COMMAND has {port}, otherwise none.",
)
@click.option("--upload", type=EXISTING_FOLDER, metavar="DIR", help="Upload DIR to the job before it starts.")
@click.option(
    "--linger",
    type=click.FloatRange(0, LINGER_MAX_S),
    default=LINGER_MAX_S,
    metavar="SECONDS",
    help="Remove the job after this time without a client. Default: 30 days.",
)
@click.option(
    "--idle-after",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="End the job after this time without use of its ports.",
)
@wait_option
@target_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def start(
    target: Target,
    name: str | None,
    pool: PoolChoice | None,
    environment: dict[str, str],
    port: int | None,
    upload: Path | None,
    linger: float,
    idle_after: float | None,
    ready_timeout: float,
    command: tuple[str, ...],
) -> None:
    """Start COMMAND as a job in a new folder on the agent's host, and print its uid.

    The job continues to run after this command. With {port} in COMMAND, or with --port, this command waits until
    COMMAND listens. A job that cannot be started is removed.

    With --pool NAME the agent is one that a pool of a router starts. This command waits until it has come.

    \b
    Exit codes: 126 if COMMAND cannot be executed, 127 if it is not found.

    \b
    Examples:
      pagent start --name site -- python3 -m http.server {port}
      pagent start --upload . -e THREADS=4 -- python3 simulate.py
      pagent logs -f $(pagent start -- ping -c 3 127.0.0.1)
    """
    from pagent.cli.remote import run_dialled
    from pagent.cli.run.start_work import StartArguments, start_job

    request = StartArguments(
        name=name,
        pool=pool,
        environment=environment,
        port=port,
        upload=upload,
        linger=linger,
        idle_after=idle_after,
        ready_timeout=ready_timeout,
        command=list(command),
    )
    run_dialled(target, lambda client: start_job(client, request))
