"""``pagent run``: run a command as a job of an agent, and forward local ports to it."""

from __future__ import annotations

from typing import NoReturn

import click

from pagent.cli.job_options import COMMAND_SETTINGS
from pagent.cli.run.run_options import RunOptions, run_options
from pagent.limits import LINGER_MAX_S


@click.command(short_help="Run a command and forward a local port to it.", context_settings=COMMAND_SETTINGS)
@run_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(options: RunOptions, command: tuple[str, ...]) -> None:
    """Run COMMAND as a job, and forward a port of 127.0.0.1 to it.

    COMMAND gets a free port. It replaces {port} in COMMAND, and is in the variable PORT. If COMMAND listens on a fixed
    port, name it with --port or -p LOCAL:JOB. {port:NAME} is another free port. {{port}} is the text {port}.

    COMMAND runs in the current folder, and its files stay there. With --agent or --sandbox it runs in a new folder,
    which is deleted with the job: --upload uploads files before the start, --keep downloads them at the end, also after
    Ctrl-C and after a failure.

    With -i and -t COMMAND uses this terminal. Its ports are then those that the command line names, and it is not
    waited for to listen.

    The address is printed as a URL if COMMAND prints one for its own port, or is seen to be for the web by its name or
    its script, and with --browser. The URL that COMMAND prints is repeated for the local port, with its path.

    With --pool NAME the agent is one that a pool of a router starts for COMMAND, with the parameters that the pool
    asks for. The state of the queue is printed meanwhile. Ctrl-C in the queue cancels the request, and later it ends
    the job with its agent.

    Ctrl-C, SIGTERM or closing the terminal ends the job with all of its processes. A second Ctrl-C ends them without
    a grace period. With -it Ctrl-C goes to COMMAND.

    \b
    Exit codes:
      0      COMMAND exited with 0 after it had listened, or SIGTERM has ended it
      130    stopped by Ctrl-C
      N      COMMAND exited with N
      128+N  COMMAND was ended by signal N, or the request of --pool by SIGTERM or SIGHUP
      1      COMMAND exited with 0 before it listened, did not listen in time,
             or a port or a transfer failed
      2      invalid options
      4      the agent cannot be reached, or the link to it is lost
      5      the token is not accepted
      126    COMMAND cannot be executed
      127    COMMAND is not found

    \b
    Examples:
      # Serve the current folder
      pagent run -- python3 -m http.server {port}
      # Choose the local port
      pagent run -p 8888 -- jupyter lab --no-browser --port {port}
      # Forward local port 8080 to a program that always listens on port 3000
      pagent run -p 8080:3000 -- npm start
      # A prompt of Python, on another host
      pagent run -it --agent host:7000 -- python3
      # Run on another host, with the files of the current folder
      pagent run --agent host:7000 --upload . --keep results -- python3 app.py
      # Run on a compute node that the router of the current context gets from Slurm
      pagent run --pool slurm --cpus 4 --time 60 -- jupyter lab --port {port}
    """
    options.check()
    if options.detach:
        _start(options, command)
    # Imported here because the help of all commands imports this module.
    from pagent import log
    from pagent.cli import loop
    from pagent.cli.run.attached import run_attached
    from pagent.cli.run.run_request import run_request

    target, request = options.target, run_request(options, command)
    log.setup("debug" if target and target.debug else "warning")
    raise SystemExit(loop.run(lambda: run_attached(request)))


def _start(options: RunOptions, command: tuple[str, ...]) -> NoReturn:
    """Do as ``pagent start`` does."""
    from pagent.cli.remote import run_dialled
    from pagent.cli.run.start_work import StartArguments, start_job

    assert options.target is not None, "-d requires one"
    request = StartArguments(
        name=options.name,
        pool=options.pool,
        environment=options.environment,
        port=options.port,
        folder=options.folder,
        upload=options.upload,
        linger=LINGER_MAX_S,
        idle_after=None,
        ready_timeout=options.ready_timeout,
        command=list(command),
    )
    run_dialled(options.target, lambda client: start_job(client, request))
