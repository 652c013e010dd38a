"""``pagent run``: run a command as a job of an agent, and forward local ports to it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pagent.cli.job_options import publish_option
from pagent.cli.publish import Publish, plan_ports
from pagent.cli.target import Target, optional_target_options
from pagent.limits import READY_TIMEOUT_MAX_S, READY_TIMEOUT_S

#: Options after the first word of COMMAND belong to COMMAND.
_SETTINGS = {"allow_interspersed_args": False}

_FOLDER = click.Path(file_okay=False, path_type=Path)
_EXISTING = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(short_help="Run a command and forward a local port to it.", context_settings=_SETTINGS)
@publish_option(
    ": a number, or the NAME of a {port:NAME}. Default: a port that stays the same for this command in this folder."
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="The port that COMMAND listens on. Default: a free port, which COMMAND gets as {port} and in PORT.",
)
@click.option("--dir", "folder", metavar="PATH", help="Run COMMAND in this folder. Default: the current folder.")
@click.option("--sandbox", is_flag=True, help="Run COMMAND in a new folder, which is deleted at the end.")
@optional_target_options
@click.option(
    "--upload", type=_EXISTING, metavar="DIR", help="With --agent or --sandbox: upload DIR to the job before it starts."
)
@click.option(
    "--keep", type=_FOLDER, metavar="DIR", help="With --agent or --sandbox: download the job's files to DIR at the end."
)
@click.option(
    "--wait",
    "ready_timeout",
    type=click.FloatRange(0, READY_TIMEOUT_MAX_S, min_open=True),
    default=READY_TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="Time for COMMAND to listen on its port.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    target: Target | None,
    publishes: tuple[Publish, ...],
    port: int | None,
    folder: str | None,
    sandbox: bool,
    upload: Path | None,
    keep: Path | None,
    ready_timeout: float,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND as a job, and forward http://127.0.0.1:LOCAL/ to it.

    COMMAND gets a free port. It replaces {port} in COMMAND, and is in the variable PORT. If COMMAND listens on a fixed
    port, name it with --port or -p LOCAL:JOB. {port:NAME} is another free port. {{port}} is the text {port}.

    COMMAND runs in the current folder, and its files stay there. With --agent or --sandbox it runs in a new folder,
    which is deleted with the job: --upload uploads files before the start, --keep downloads them at the end, also after
    Ctrl-C and after a failure. COMMAND gets no input from this terminal.

    Ctrl-C, SIGTERM or closing the terminal ends the job with all of its processes. A second Ctrl-C ends them without
    a grace period.

    \b
    Exit codes:
      0      stopped by Ctrl-C, or COMMAND exited with 0 after it had listened
      N      COMMAND exited with N
      128+N  COMMAND was ended by signal N
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
      # Run on another host, with the files of the current folder
      pagent run --agent host:7000 --upload . --keep results -- python3 app.py
    """
    _check(target, folder, sandbox, upload, keep)
    # Imported here because the help of all commands imports this module.
    from pagent import log
    from pagent.cli import loop
    from pagent.cli.attached import RunRequest, run_attached

    request = RunRequest(
        target=target,
        plan=plan_ports(publishes, port, command),
        ready_timeout=ready_timeout,
        command=list(command),
        folder=folder if target is not None else None if sandbox else _local(folder),
        upload=upload,
        keep=keep,
    )
    log.setup("debug" if target and target.debug else "warning")
    raise SystemExit(loop.run(lambda: run_attached(request)))


def _check(target: Target | None, folder: str | None, sandbox: bool, upload: Path | None, keep: Path | None) -> None:
    if sandbox and folder is not None:
        raise click.UsageError("--sandbox and --dir cannot be used together: a sandbox is a new folder")
    absolute = folder is not None and os.path.isabs(folder)
    for name, given in (("--upload", upload), ("--keep", keep)):
        if given is None:
            continue
        if target is None and not sandbox:
            text = "otherwise the command runs in the current folder, and its files stay there"
            raise click.UsageError(f"{name} requires --agent or --sandbox: {text}")
        if target is not None and absolute:
            raise click.UsageError(
                f"{name} and --dir {folder} cannot be used together: {name} works on the job's own folder"
            )


def _local(folder: str | None) -> str:
    """Return the folder of this machine to run in, as an absolute path. click.UsageError."""
    try:
        if folder is None:
            return os.getcwd()
        path = os.path.abspath(folder)
    except FileNotFoundError:
        raise click.UsageError("the current folder does not exist; change to another one, or use --dir") from None
    if not os.path.isdir(path):
        raise click.UsageError(f"--dir: no such folder: {path}")
    return path
