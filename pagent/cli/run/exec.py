"""``pagent exec``: run another process in the folder of a job."""

from __future__ import annotations

import click

from pagent.cli.completing_jobs import job_names
from pagent.cli.job_options import terminal_options
from pagent.cli.run.environment import environment_options
from pagent.cli.target import Target, target_options

#: Options after JOB belong to COMMAND.
_SETTINGS = {"allow_interspersed_args": False}


@click.command(name="exec", short_help="Run a command in a job.", context_settings=_SETTINGS)
@terminal_options
@environment_options
@target_options
@click.argument("job", shell_complete=job_names)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(
    target: Target, interactive: bool, tty: bool, environment: dict[str, str], job: str, command: tuple[str, ...]
) -> None:
    """Run COMMAND in the folder of JOB, with its environment and limits.

    COMMAND ends with this command. Its output is that of this command. With -t standard error is part of standard
    output, and Ctrl-C goes to COMMAND.

    \b
    Exit codes:
      N      COMMAND exited with N
      128+N  COMMAND was ended by signal N
      126    COMMAND cannot be executed
      127    COMMAND is not found
      3      JOB is not found
      4, 5   no link to the agent, or its token is not accepted

    \b
    Examples:
      pagent exec 5f0c0d5a -- ls -l
      pagent exec -it notebook -- bash
      echo '2 + 2' | pagent exec -i notebook -- python3 -
    """
    from pagent.cli.remote import run_dialled
    from pagent.cli.run.exec_work import ExecRequest, run_exec
    from pagent.cli.run.joined_process import Joint

    words = list(command[1:] if command[0] == "--" else command)
    if not words:
        raise click.UsageError("Missing argument 'COMMAND...'.")
    request = ExecRequest(words, environment, Joint(has_input=interactive, has_terminal=tty))
    run_dialled(target, lambda client: run_exec(client, job, request))
