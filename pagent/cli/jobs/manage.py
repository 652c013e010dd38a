"""The commands that look at jobs and end them: ``ps``, ``info``, ``wait``, ``kill``, ``rm`` and ``adopt``."""

from __future__ import annotations

import click

from pagent.cli.completing_jobs import job_names
from pagent.cli.target import Target, target_options

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, with times in RFC 3339.")
_job = click.argument("job", shell_complete=job_names)
_jobs = click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=job_names)


@click.command(short_help="List jobs.")
@click.option("-a", "--all", "with_ended", is_flag=True, help="List jobs that have ended or were removed as well.")
@click.option("-q", "--quiet", is_flag=True, help="Print uids only.")
@_json
@target_options
def ps(target: Target, with_ended: bool, quiet: bool, as_json: bool) -> None:
    """List jobs: those that have not ended, oldest first.

    The first 12 digits of a uid are printed. Commands accept them, any other unique beginning of at least 4 digits, or
    the name of a job.

    \b
    Examples:
      pagent ps --agent host:7000 --token-file token
      # With those that have ended, as JSON
      pagent ps -a --json
      # Remove all jobs
      pagent rm -f $(pagent ps -a -q)
    """
    from pagent.cli.jobs.manage_work import list_jobs
    from pagent.cli.remote import run_dialled

    run_dialled(target, lambda client: list_jobs(client, with_ended=with_ended, quiet=quiet, as_json=as_json))


@click.command(short_help="Print what is known of a job.")
@_json
@target_options
@_job
def info(target: Target, as_json: bool, job: str) -> None:
    """Print what is known of JOB: state, ports, use of CPU and memory, and why it has ended.

    For a job that has ended or was removed lately, the end of its standard error is printed as well.

    \b
    Examples:
      pagent info 5f0c0d5a
      pagent info --json notebook
    """
    from pagent.cli.jobs.manage_work import print_job
    from pagent.cli.remote import run_dialled

    run_dialled(target, lambda client: print_job(client, job, as_json=as_json))


@click.command(short_help="Wait until jobs have ended.")
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Give up after this time, with 124.")
@target_options
@_jobs
def wait(target: Target, timeout: float | None, jobs: tuple[str, ...]) -> None:
    """Wait until each JOB has ended, and print its exit code, one a line.

    The exit code of this command is that of the last JOB: N, or 128+N for a job that signal N has ended. A job that was
    removed has ended, too: its agent remembers it for a day.

    \b
    Examples:
      pagent wait 5f0c0d5a && pagent logs 5f0c0d5a
      pagent wait --timeout 60 simulation
    """
    from pagent.cli.jobs.manage_work import wait_for_jobs
    from pagent.cli.remote import run_dialled
    from pagent.client.link import REDIAL_S

    run_dialled(target, lambda client: wait_for_jobs(client, jobs, timeout), redial_s=REDIAL_S)


def _known_signal(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from pagent.jobs.signames import signal_number

    try:
        signal_number(int(value) if value.isdecimal() else value)
    except ValueError as error:
        raise click.BadParameter(f"{error}: write a name such as TERM, INT or KILL, or a number", ctx, param) from None
    return value


@click.command(short_help="End jobs, and keep their files.")
@click.option(
    "-s",
    "--signal",
    "signal",
    default="TERM",
    show_default=True,
    metavar="SIGNAL",
    callback=_known_signal,
    help="A name or number.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Time until KILL is sent to a job that still runs.",
)
@target_options
@_jobs
def kill(target: Target, signal: str, grace: float, jobs: tuple[str, ...]) -> None:
    """Send a signal to each JOB, then KILL after the grace period. Files and output stay until the job is removed.

    \b
    Examples:
      pagent kill 5f0c0d5a
      pagent kill -s INT --grace 30 simulation
    """
    from pagent.cli.jobs.manage_work import kill_jobs
    from pagent.cli.remote import run_dialled

    run_dialled(target, lambda client: kill_jobs(client, jobs, signal, grace))


@click.command(short_help="Remove jobs with their files.")
@click.option("-f", "--force", is_flag=True, help="A job that does not exist is no error.")
@target_options
@_jobs
def rm(target: Target, force: bool, jobs: tuple[str, ...]) -> None:
    """End all processes of each JOB, and delete its folder.

    \b
    Examples:
      pagent rm 5f0c0d5a
      pagent rm -f notebook simulation
    """
    from pagent.cli.jobs.manage_work import remove_jobs
    from pagent.cli.remote import run_dialled

    run_dialled(target, lambda client: remove_jobs(client, jobs, force=force))


@click.command(short_help="Take a job over from its client.")
@target_options
@_job
def adopt(target: Target, job: str) -> None:
    """Take JOB over from the client that has created it, and keep it until it ends.

    A job ends with its client, or its linger time later. From this command on JOB belongs to this command: keep the
    command running. Ctrl-C ends the command, and JOB with it after its linger time. The exit code is that of JOB.

    \b
    Example:
      pagent adopt 5f0c0d5a
    """
    from pagent.cli.jobs.manage_work import adopt_job
    from pagent.cli.remote import run_dialled
    from pagent.client.link import REDIAL_S

    run_dialled(target, lambda client: adopt_job(client, job), redial_s=REDIAL_S)
