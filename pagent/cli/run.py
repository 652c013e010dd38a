"""``pagent run``: one command, reachable on a local port; its bytes go through an agent's link."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pagent.cli.publish import Publish, plan, publishes_of
from pagent.cli.token import token_option
from pagent.limits import READY_TIMEOUT_MAX_S, READY_TIMEOUT_S

#: Options end at the first word of COMMAND, whose own ones follow.
_SETTINGS = {"allow_interspersed_args": False}

_FOLDER = click.Path(file_okay=False, path_type=Path)
_EXISTING = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(short_help="Run a command and open its port on this machine.", context_settings=_SETTINGS)
@click.option(
    "-p",
    "--open",
    "publishes",
    callback=publishes_of,
    multiple=True,
    metavar="LOCAL[:JOB]",
    help="Open port LOCAL of 127.0.0.1 to the job, or to its port JOB: a number, or the NAME of a {port:NAME}. May be "
    "given many times. Default: a port that stays the same for this command in this folder.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="The port that COMMAND listens on; default: {port}, PORT.",
)
@click.option("--dir", "folder", metavar="PATH", help="Run COMMAND in this folder; default: the current one.")
@click.option("--sandbox", is_flag=True, help="Run COMMAND in a new folder, which is deleted at the end.")
@click.option("--agent", metavar="ADDRESS", help="Use an agent that runs elsewhere: HOST:PORT or wss://HOST/PATH.")
@token_option
@click.option("--upload", type=_EXISTING, metavar="DIR", help="With --agent or --sandbox: copy DIR to the job first.")
@click.option(
    "--keep", type=_FOLDER, metavar="DIR", help="With --agent or --sandbox: copy the job's files to DIR at the end."
)
@click.option(
    "--wait",
    "ready_timeout",
    type=click.FloatRange(0, READY_TIMEOUT_MAX_S, min_open=True),
    default=READY_TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="How long COMMAND may take until it listens on its port.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    agent: str | None,
    token: str | None,
    publishes: tuple[Publish, ...],
    port: int | None,
    folder: str | None,
    sandbox: bool,
    upload: Path | None,
    keep: Path | None,
    ready_timeout: float,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND as a job, and open http://127.0.0.1:LOCAL/ to it.

    COMMAND gets a free port: write {port} where it takes one; the variable PORT has it as well. If it listens on a
    port of its own, say which with --port or -p LOCAL:JOB. {port:NAME} is a further free port. {{port}} is not
    replaced, it means the text {port}.

    COMMAND runs in the current folder, and what it writes stays there. With --agent or --sandbox it runs in a new
    folder that is deleted with the job: --upload brings files there, --keep copies them back, also after Ctrl-C and
    after a failure. COMMAND reads nothing from this terminal.

    Ctrl-C (or SIGTERM, or closing the terminal) ends the job and all that it has started; pressed again, without
    grace.

    \b
    Exit codes:
      0    stopped by Ctrl-C, or COMMAND ended with 0 after it had listened
      N    COMMAND ended with N
      128+N  COMMAND was ended by signal N
      1    COMMAND ended with 0 before it listened, did not listen in time,
           or something around it failed: the message says what
      2    wrong options
      126  COMMAND cannot be run
      127  COMMAND is not found

    \b
    Examples:
      pagent run -- python3 -m http.server {port}
      pagent run -p 8888 -- jupyter lab --no-browser --port {port}
      pagent run -p 8080:3000 -- npm start
      pagent run --agent host:7000 --upload . --keep results -- python3 app.py
    """
    _check(agent, token, folder, sandbox, upload, keep)
    # Here and not above: the help of all commands loads this module.
    from pagent import log
    from pagent.cli import loop
    from pagent.cli.attached import Request, run_attached

    request = Request(
        agent=agent,
        token=token or "",
        plan=plan(publishes, port, command),
        ready_timeout=ready_timeout,
        command=list(command),
        folder=folder if agent is not None else None if sandbox else _local(folder),
        upload=upload,
        keep=keep,
    )
    log.setup("warning")
    raise SystemExit(loop.run(lambda: run_attached(request)))


def _check(
    agent: str | None, token: str | None, folder: str | None, sandbox: bool, upload: Path | None, keep: Path | None
) -> None:
    if agent is not None and token is None:
        raise click.UsageError("--agent needs --token-file, or PAGENT_TOKEN in the environment")
    if sandbox and folder is not None:
        raise click.UsageError("--sandbox is a new folder: it does not go together with --dir")
    absolute = folder is not None and os.path.isabs(folder)
    for name, given in (("--upload", upload), ("--keep", keep)):
        if given is None:
            continue
        if agent is None and not sandbox:
            text = "the command runs in the current folder, and its files stay there"
            raise click.UsageError(f"{name} is for --agent and --sandbox: {text}")
        if agent is not None and absolute:
            raise click.UsageError(f"{name} is for the job's own folder: it does not go together with --dir {folder}")


def _local(folder: str | None) -> str:
    """Return the folder of this machine to run in, as an absolute path."""
    try:
        if folder is None:
            return os.getcwd()
        path = os.path.abspath(folder)
    except FileNotFoundError:
        raise click.UsageError("the current folder does not exist any more; go to another one, or use --dir") from None
    if not os.path.isdir(path):
        raise click.UsageError(f"--dir: there is no folder {path}")
    return path
