"""``pagent logs``: print the output of a job."""

from __future__ import annotations

import click

from pagent.cli.target import Target, target_options


@click.command(short_help="Print the output of a job.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--stdout", "only", flag_value="stdout", help="Print its standard output only.")
@click.option("--stderr", "only", flag_value="stderr", help="Print its standard error only.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Print the last N lines of each only.")
@target_options
@click.argument("job")
def logs(target: Target, follow: bool, only: str | None, tail: int | None, job: str) -> None:
    """Print the standard output and the standard error of JOB, each to that of this command.

    With --follow, Ctrl-C ends this command and not the job.

    \b
    Examples:
      pagent logs 5f0c0d5a
      pagent logs -f --tail 20 notebook
      pagent logs --stderr 5f0c0d5a > errors
    """
    from pagent.cli.log_work import print_logs
    from pagent.cli.remote import run_dialled
    from pagent.client.link import REDIAL_S

    redial_s = REDIAL_S if follow else 0.0
    run_dialled(target, lambda client: print_logs(client, job, only, follow=follow, tail=tail), redial_s=redial_s)
