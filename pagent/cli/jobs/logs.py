"""``pagent logs``: print the output of a job."""

from __future__ import annotations

import click

from pagent.cli.completing_jobs import job_names
from pagent.cli.jobs.since import SinceParam
from pagent.cli.target import Target, target_options


@click.command(short_help="Print the output of a job.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--stdout", "only", flag_value="stdout", help="Print its standard output only.")
@click.option("--stderr", "only", flag_value="stderr", help="Print its standard error only.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Print the last N lines of each only.")
@click.option(
    "--since",
    type=SinceParam(),
    metavar="TIME",
    help="Print what was written since then only: 10m, 2h30m, or a time such as 2030-12-31T23:59:59Z.",
)
@target_options
@click.argument("job", shell_complete=job_names)
def logs(target: Target, follow: bool, only: str | None, tail: int | None, since: float | None, job: str) -> None:
    """Print the standard output and the standard error of JOB, each to that of this command.

    Output has no times in it. For --since the agent knows when it was written to within a second; older output of a job
    that writes all the time to within about 2 % of its age. Nothing newer than TIME is left out, and a little more may
    be printed. A TIME without a zone is local.

    With --follow, Ctrl-C ends this command and not the job.

    \b
    Examples:
      pagent logs 5f0c0d5a
      pagent logs -f --tail 20 notebook
      pagent logs --since 10m notebook
      pagent logs --stderr 5f0c0d5a > errors
    """
    from pagent.cli.jobs.logs_work import LogChoice, print_logs
    from pagent.cli.remote import run_dialled
    from pagent.client.link import REDIAL_S

    choice = LogChoice(only, follow, tail, since)
    run_dialled(target, lambda client: print_logs(client, job, choice), redial_s=REDIAL_S if follow else 0.0)
