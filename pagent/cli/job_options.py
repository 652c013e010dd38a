"""Options that several commands have: the local ports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from pagent.cli.publish import publishes_of


def publish_option(help_text: str) -> Callable[[Any], Any]:
    """Return a decorator: the function is called with ``publishes: tuple[Publish, ...]``."""
    return click.option(
        "-p",
        "--open",
        "publishes",
        callback=publishes_of,
        multiple=True,
        metavar="LOCAL[:JOB]",
        help=f"Forward port LOCAL of 127.0.0.1 to the job, or to its port JOB{help_text} Can be repeated.",
    )
