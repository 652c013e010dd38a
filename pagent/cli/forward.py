"""``pagent forward``: forward local ports to a running job."""

from __future__ import annotations

import click

from pagent.cli.job_options import agent_option, publish_option, token_option
from pagent.cli.publish import Publish


@click.command(short_help="Forward local ports to a running job.")
@agent_option("Address of the agent that runs JOB", required=True)
@token_option
@publish_option(". Default: all ports of the job, under the same numbers where those are free.")
@click.option("--port", "job_port", type=click.IntRange(1, 65535), metavar="JOB", help="The same as -p :JOB.")
@click.argument("job")
def forward(agent: str, token: str | None, publishes: tuple[Publish, ...], job_port: int | None, job: str) -> None:
    """Forward local ports to the running job with the uid JOB.

    Any TCP protocol works. Forwarding stops with the job or with Ctrl-C; the job continues to run after Ctrl-C. If the
    job is still starting, the command waits for its ports.

    \b
    Exit codes:
      0    stopped by Ctrl-C, or the job has ended
      1    JOB or its port does not exist, a local port cannot be opened,
           or the link to the agent is lost
      2    invalid options

    \b
    Examples:
      # Forward the job's ports
      pagent forward --agent host:7000 5f0c0d5a0c6b4d8f9e1b7a3c2d4e6f80
      # Forward local port 8080 to port 8000 of the job, and 5432 to 5432
      pagent forward --agent host:7000 -p 8080:8000 -p 5432:5432 5f0c0d5a0c6b4d8f9e1b7a3c2d4e6f80
    """
    if token is None:
        raise click.UsageError("a token is required: use --token-file, or set PAGENT_TOKEN in the environment")
    from pagent import log
    from pagent.cli import loop
    from pagent.cli.forwarding import forward_attached

    if job_port is not None:
        publishes = _with_port(publishes, job_port)
    log.setup("warning")
    raise SystemExit(loop.run(lambda: forward_attached(agent, token, job, publishes)))


def _with_port(publishes: tuple[Publish, ...], job_port: int) -> tuple[Publish, ...]:
    """Return ``publishes`` with ``job_port`` where none is given."""
    if not publishes:
        return (Publish(0, job_port),)
    return tuple(Publish(one.local, job_port) if one.job is None else one for one in publishes)
