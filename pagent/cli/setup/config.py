"""``pagent config``: look at the configuration of an agent or a router without starting it."""

from __future__ import annotations

from pathlib import Path

import click

_router = click.option("--router", is_flag=True, help="The configuration of a router, not of an agent.")
_file = click.option("--config", "path", type=click.Path(path_type=Path), metavar="FILE", help="Configuration file.")
_sets = click.option("--set", "sets", multiple=True, metavar="KEY=LITERAL", help="As of pagent serve. Can be repeated.")


@click.group(short_help="Check and print a configuration.")
def config() -> None:
    """Check and print a configuration, without starting anything.

    \b
    Examples:
      pagent config check agent.yaml
      pagent config check --router router.yaml
      pagent config show --config agent.yaml --set server.port=7000
      pagent config example > agent.yaml
    """


@config.command()
@_router
@_sets
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
def check(router: bool, sets: tuple[str, ...], path: Path) -> None:
    """Check a configuration FILE. A fault is printed with its key or its line; the exit code is then 2."""
    from pagent.cli.setup.config_work import check_file
    from pagent.config.reference import MODELS

    check_file(MODELS["router" if router else "agent"][0], path, sets)
    click.echo(f"{path} is valid")


@config.command()
@_router
@_file
@_sets
@click.option("-a", "--all", "with_defaults", is_flag=True, help="Print the keys that have their default as well.")
def show(router: bool, path: Path | None, sets: tuple[str, ...], with_defaults: bool) -> None:
    """Print the keys in force that differ from their defaults, each with its source. Secrets are not printed."""
    from pagent.cli.setup.config_work import effective
    from pagent.cli.terminal.tables import print_table
    from pagent.config.reference import MODELS

    rows = effective(MODELS["router" if router else "agent"][0], path, sets)
    print_table(("KEY", "VALUE", "SOURCE"), [row for row in rows if with_defaults or row[2] != "default"])


@config.command()
@_router
def example(router: bool) -> None:
    """Print a configuration file with every key, its default and its meaning."""
    from pagent.config.reference import reference

    click.echo(reference("router" if router else "agent"), nl=False)
