"""``pagent cp``: copy files between this machine and the folder of a job."""

from __future__ import annotations

import click

from pagent.cli.completing_jobs import copy_places
from pagent.cli.target import Target, target_options


@click.command(short_help="Copy files to or from a job.")
@click.option("-q", "--quiet", is_flag=True, help="Print neither progress nor a summary.")
@target_options
@click.argument("source", metavar="SRC", shell_complete=copy_places)
@click.argument("destination", metavar="DST", shell_complete=copy_places)
def cp(target: Target, quiet: bool, source: str, destination: str) -> None:
    """Copy SRC to DST: files and folders, to a job or from one.

    One of them is JOB:PATH, a path in the folder of JOB; the other is a path of this machine. A local path with a colon
    begins with ./

    \b
    A file       onto a folder is copied into it; otherwise DST is its new name.
    A folder     onto a folder is copied into it; otherwise DST is made with its content.
    SRC/.        copies the content of a folder into DST. So does JOB:
    -            as SRC: standard input, a tar file if DST is a folder;
                 as DST: standard output, a tar file if SRC is a folder.

    Modes, times, symbolic links and empty folders are kept. A link that leads out of the folder, a device, a FIFO and
    what cannot be read are named and not copied, and the exit code is then 1. SRC itself may be a link.

    After a lost connection the copy goes on. So does the same command after an interruption: a large file continues
    where it was, and files of 64 KiB and more that are there already are recognised by their content. Each file appears
    when it is complete.

    \b
    Examples:
      pagent cp data.csv 5f0c0d5a:
      pagent cp notebook:results ./results
      pagent cp ./inputs/. notebook:inputs
      pagent cp notebook:logs - | tar tv
    """
    from pagent.cli.copy.cp_work import copy
    from pagent.cli.remote import run_dialled
    from pagent.client.link import REDIAL_S

    run_dialled(target, lambda client: copy(client, source, destination, quiet=quiet), redial_s=REDIAL_S)
