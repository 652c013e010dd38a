"""``pagent open``: open a running job in a browser."""

from __future__ import annotations

import click

from pagent.cli.completing_jobs import job_names
from pagent.cli.ports.spans import SpanParam
from pagent.cli.target import Target, target_options


@click.command(name="open", short_help="Open a job in a browser.")
@click.option("--print", "prints", is_flag=True, help="Print the address instead of opening a browser.")
@click.option(
    "--within",
    type=SpanParam("24h"),
    help="How long the address of a ticket can be opened, such as 10m; at most 24h.  [default: 1m]",
)
@target_options
@click.argument("job", shell_complete=job_names)
@click.argument("port", required=False, type=click.IntRange(1, 65535))
def open_(target: Target, prints: bool, within: float | None, job: str, port: int | None) -> None:
    """Open JOB, or its port PORT, in a browser. Without PORT it is the first port of the job.

    A router makes a ticket: an address that opens the job once, without a token. The command ends then. For a job of an
    agent, or of a router without an apps listener, the command forwards a local port until the job ends or Ctrl-C.

    The variable BROWSER names the browser. Without a display the address is printed. The code of a ticket is not among
    the arguments of the browser, where other users of this machine could read it.

    \b
    Exit codes:
      0      the browser is opened, or the address is printed
      1      JOB does not run, has no such port, or no browser can be started
      3      JOB is not found
      4, 5   no link, or not allowed
      130    stopped by Ctrl-C

    \b
    Examples:
      pagent open notebook
      pagent open --print notebook 8888
      # An address to send to another person
      pagent open --print --within 1h notebook
    """
    from pagent import log
    from pagent.cli import loop
    from pagent.cli.ports.open_work import open_job

    log.setup("debug" if target.debug else "error")
    raise SystemExit(loop.run(lambda: open_job(target, job, port, prints=prints, within_s=within)))
