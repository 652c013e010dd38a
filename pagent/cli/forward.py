"""``pagent forward``: local ports that lead to a job of an agent that is running elsewhere."""

from __future__ import annotations

import click

from pagent.cli.publish import Publish, publishes_of
from pagent.cli.token import token_option


@click.command(short_help="Open a running job's port on this machine.")
@click.option(
    "--agent", metavar="ADDRESS", required=True, help="The agent that runs the job: HOST:PORT or wss://HOST/PATH."
)
@token_option
@click.option(
    "-p",
    "--open",
    "publishes",
    callback=publishes_of,
    multiple=True,
    metavar="LOCAL[:JOB]",
    help="Open port LOCAL of 127.0.0.1 to the job, or to its port JOB. May be given many times. Default: all ports of "
    "the job, under the same numbers where those are free.",
)
@click.option("--port", "job_port", type=click.IntRange(1, 65535), metavar="JOB", help="The same as -p :JOB.")
@click.argument("job")
def forward(agent: str, token: str | None, publishes: tuple[Publish, ...], job_port: int | None, job: str) -> None:
    """Open local ports to JOB, by its uid, until it ends or Ctrl-C. Any TCP protocol passes untouched.

    JOB goes on after Ctrl-C. If it is still starting, its ports are waited for.

    \b
    Exit codes:
      0    stopped by Ctrl-C, or JOB has ended
      1    JOB or its port is not there, a local port cannot be opened,
           or the link to the agent is lost: the message says what
      2    wrong options

    \b
    Examples:
      pagent forward --agent host:7000 5f0c0d5a0c6b4d8f9e1b7a3c2d4e6f80
      pagent forward --agent host:7000 -p 8080:8000 -p 5432:5432 5f0c0d5a0c6b4d8f9e1b7a3c2d4e6f80
    """
    if token is None:
        raise click.UsageError("a token is needed: --token-file, or PAGENT_TOKEN in the environment")
    from pagent import log
    from pagent.cli import loop
    from pagent.cli.forwarding import forward_attached

    if job_port is not None:
        publishes = _with_port(publishes, job_port)
    log.setup("warning")
    raise SystemExit(loop.run(lambda: forward_attached(agent, token, job, publishes)))


def _with_port(publishes: tuple[Publish, ...], job_port: int) -> tuple[Publish, ...]:
    """Give the port to those that have none."""
    if not publishes:
        return (Publish(0, job_port),)
    return tuple(Publish(one.local, job_port) if one.job is None else one for one in publishes)
