"""``pagent completion``: print the script by which a shell completes the commands."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from pagent.cli.completing import VARIABLE

_SHELLS: Final = ("bash", "zsh", "fish")


@click.command(short_help="Complete commands in a shell.")
@click.argument("shell", type=click.Choice(_SHELLS), metavar="SHELL")
def completion(shell: str) -> None:
    """Print the script by which SHELL (bash, zsh or fish) completes commands, options, contexts and jobs.

    Jobs are those of the agent or router that the command line names, or the current context. If it does not answer
    in time, there are none.

    \b
    Install it for your user, then start a new shell:
      pagent completion bash > ~/.local/share/bash-completion/completions/pagent
      pagent completion zsh > "${fpath[1]}/_pagent"
      pagent completion fish > ~/.config/fish/completions/pagent.fish
    The folder may have to be made first. bash needs version 4.4, and the package bash-completion.

    \b
    Examples:
      source <(pagent completion bash)
      pagent completion fish | source
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    root = click.get_current_context().find_root()
    source = kind(root.command, {}, "pagent", VARIABLE).source()
    if shell == "bash":  # no space after the colon of JOB:PATH
        source = source.replace(
            "    return 0\n", "    [[ ${COMPREPLY[0]} == *: ]] && compopt -o nospace\n    return 0\n"
        )
    click.echo(source)
