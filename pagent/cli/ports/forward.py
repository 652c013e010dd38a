"""``pagent forward``: forward local ports to a running job."""

from __future__ import annotations

import click

from pagent.cli.completing_jobs import job_names
from pagent.cli.job_options import publish_options
from pagent.cli.ports.publish import Publish
from pagent.cli.target import Target, target_options


@click.command(short_help="Forward local ports to a running job.")
@publish_options(". Default: all ports of the job, under the same numbers where those are free.")
@click.option("--port", "job_port", type=click.IntRange(1, 65535), metavar="JOB", help="The same as -p :JOB.")
@target_options
@click.argument("job", shell_complete=job_names)
def forward(target: Target, publishes: tuple[Publish, ...], job_port: int | None, job: str) -> None:
    """Forward local ports to the running JOB: its uid, the beginning of its uid, or its name.

    Any TCP protocol works. Forwarding stops with the job or with Ctrl-C; the job continues to run after Ctrl-C. If the
    job is still starting, the command waits for its ports. The address is printed as a URL if the job has printed one
    for its port.

    \b
    Exit codes:
      0    the job has ended, or SIGTERM has ended the command
      130  stopped by Ctrl-C
      1    JOB has no such port, or a local port cannot be opened
      2    invalid options
      3    JOB is not found
      4    the agent cannot be reached, or the link to it is lost
      5    the token is not accepted

    \b
    Examples:
      # Forward the job's ports
      pagent forward --agent host:7000 5f0c0d5a
      # Forward local port 8080 to port 8000 of the job, and 5432 to 5432
      pagent forward --agent host:7000 -p 8080:8000 -p 5432:5432 5f0c0d5a
    """
    from pagent import log
    from pagent.cli import loop
    from pagent.cli.ports.forward_work import forward_attached

    if job_port is not None:
        publishes = _with_port(publishes, job_port)
    log.setup("debug" if target.debug else "warning")
    raise SystemExit(loop.run(lambda: forward_attached(target, job, publishes)))


def _with_port(publishes: tuple[Publish, ...], job_port: int) -> tuple[Publish, ...]:
    """Return ``publishes`` with ``job_port`` where none is given."""
    if not publishes:
        return (Publish(0, job_port),)
    return tuple(Publish(one.local, job_port) if one.job is None else one for one in publishes)
