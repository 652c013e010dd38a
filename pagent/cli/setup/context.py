"""``pagent context``: save agents and routers by name, so that commands need no address and no token."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pagent.cli.completing import context_names
from pagent.cli.target import CONTEXT_VARIABLE, find_target, report_readable_tokens


@click.group(short_help="Save addresses and tokens by name.")
def context() -> None:
    """Save addresses of agents and routers with their tokens, so that other commands need no --agent.

    They are kept in ~/.config/pagent/contexts.yaml, which only you can read. A command uses --agent, otherwise
    --context, otherwise the variable PAGENT_CONTEXT, otherwise the current context.

    \b
    Examples:
      pagent context add lab wss://router.example/ --token-file token
      pagent context add laptop 127.0.0.1:7000 --token-file tokens
      pagent context use lab
      pagent context list
      pagent ps --context laptop
      pagent context remove laptop
    """


@context.command()
@click.option("--agent", metavar="ADDRESS", help="The same as ADDRESS.")
@click.option(
    "--token-file", type=click.Path(path_type=Path), metavar="FILE", help="File of the token, which is saved, too."
)
@click.argument("name")
@click.argument("address", required=False)
def add(agent: str | None, token_file: Path | None, name: str, address: str | None) -> None:
    """Save ADDRESS and a token as NAME. An existing context of this name is replaced; the first one becomes current."""
    from pagent.config.contexts import SavedContext, contexts_path, read_contexts, write_contexts
    from pagent.net.dial import parse_address

    where = address or agent
    if where is None or (address and agent):
        raise click.UsageError("an address is required, once: pagent context add NAME ADDRESS")
    parse_address(where)
    target = find_target(where, None, token_file)
    path = contexts_path()
    contexts = read_contexts(path).added(name, SavedContext(target.address, target.token))
    write_contexts(path, contexts)
    is_current = contexts.current == name
    click.echo(f"{name} is saved{', and is the current context' if is_current else ''}")


@context.command()
@click.argument("name", shell_complete=context_names)
def use(name: str) -> None:
    """Make NAME the current context."""
    from pagent.config.contexts import contexts_path, read_contexts, write_contexts

    path = contexts_path()
    write_contexts(path, read_contexts(path).used(name))
    click.echo(f"{name} is the current context")


@context.command()
@click.argument("name", shell_complete=context_names)
def remove(name: str) -> None:
    """Forget the context NAME."""
    from pagent.config.contexts import contexts_path, read_contexts, write_contexts

    path = contexts_path()
    write_contexts(path, read_contexts(path).removed(name))


@context.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the saved contexts. The one that commands use has a star."""
    from pagent.cli.terminal.tables import print_json, print_table
    from pagent.config.contexts import saved_contexts

    contexts = saved_contexts()
    report_readable_tokens()
    used = os.environ.get(CONTEXT_VARIABLE) or contexts.current
    if as_json:
        rows = contexts.by_name.items()
        print_json([{"name": name, "address": saved.address, "current": name == used} for name, saved in rows])
        return
    print_table(
        ("", "NAME", "ADDRESS"),
        [("*" if name == used else "", name, saved.address) for name, saved in contexts.by_name.items()],
    )
