"""``pagent forward``: a local port that leads to a job of an agent that is running elsewhere."""

from __future__ import annotations

import click


@click.command(short_help="Open a running job's port locally.")
@click.option("--agent", metavar="ADDRESS", required=True, help="The agent that listens there, HOST:PORT or wss://...")
@click.option(
    "--token", metavar="T", envvar="PAGENT_TOKEN", required=True, help="The token that the job was created with."
)
@click.option("--open", "port", type=click.IntRange(0, 65535), default=0, help="Local port; default: any free one.")
@click.option("--port", "job_port", type=click.IntRange(1, 65535), help="Which port of the job, if it has several.")
@click.argument("job")
def forward(agent: str, token: str, port: int, job_port: int | None, job: str) -> None:
    """Open a local port to JOB, by its uid, until the job ends or Ctrl-C. Any TCP protocol passes untouched."""
    from pagent import log
    from pagent.cli import loop
    from pagent.cli.attached import forward_attached

    log.setup("warning")
    raise SystemExit(loop.run(lambda: forward_attached(agent, token, job, port, job_port)))
