"""``pagent top``: a live table of what jobs use."""

from __future__ import annotations

import click

from pagent.cli.completing_jobs import job_names
from pagent.cli.target import Target, target_options


@click.command(short_help="Watch what jobs use.")
@click.option("--once", is_flag=True, help="Print the table once, as without a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON once, with times in RFC 3339.")
@target_options
@click.argument("jobs", nargs=-1, metavar="[JOB]...", shell_complete=job_names)
def top(target: Target, once: bool, as_json: bool, jobs: tuple[str, ...]) -> None:
    """Print a table of what each JOB, or every job that has not ended, uses: CPU, memory, streams, time without use.

    It is printed again every 2 seconds. Keys: c sorts by CPU, m by memory, s by streams, a by age; q quits. CPU is in
    percent of one core, of all processes of the job. IDLE is the time without a request or input, at most since the
    start. IN and OUT are the bytes that the job has received from its clients and has sent to them.

    Without a terminal the table is printed once, when the use of CPU has been measured for about two seconds.

    \b
    Examples:
      pagent top
      pagent top simulation notebook
      pagent top --once --agent host:7000 --token-file token
    """
    from pagent.cli.jobs.top_work import print_use, watch_use
    from pagent.cli.remote import run_dialled
    from pagent.client.link import REDIAL_S

    if once or as_json:
        run_dialled(target, lambda client: print_use(client, jobs, as_json=as_json))
    run_dialled(target, lambda client: watch_use(client, jobs), redial_s=REDIAL_S)
