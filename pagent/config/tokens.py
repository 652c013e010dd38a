"""The tokens in force: those of the configuration, of the files that it names, and of the environment.

A token on a command line can be read by every user of the machine, so each token may be in a file. Files are read again
on SIGHUP. No error quotes the content of a file.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pagent.config.model import DashboardSettings, Settings
from pagent.config.router import AcceptedToken, RouterSettings
from pagent.errors import ConfigError
from pagent.limits import TOKEN_FILE_MAX
from pagent.names import TOKEN_VARIABLE

#: Why a link is closed whose token a reload has taken away.
TOKEN_GONE: Final = "the token is no longer accepted"


@dataclass(frozen=True)
class Tokens:
    """``accepted``: for routers that dial the agent.

    ``client``: to present when dialling; ``routers`` has those of addresses with a token of their own. ``control``:
    None for no token.
    """

    accepted: tuple[str, ...] = field(default=(), repr=False)
    client: str = field(default="", repr=False)
    routers: Mapping[str, str] = field(default_factory=dict, repr=False)
    control: tuple[str, ...] | None = field(default=None, repr=False)

    def for_router(self, address: str) -> str:
        """Return the token to present at an address of the configuration."""
        return self.routers.get(address, self.client)


def load_tokens(settings: Settings, environ: Mapping[str, str]) -> Tokens:
    """Return the tokens in force. It reads files; ConfigError, which names the key, if one cannot be used."""
    server, client, control = settings.server, settings.client, settings.control
    accepted = list(server.accept_tokens)
    if server.accept_tokens_file is not None:
        accepted += _tokens_of("server.accept_tokens_file", server.accept_tokens_file)
    if own := environ.get(TOKEN_VARIABLE):
        accepted.append(own)
    presented = client.token
    if client.token_file is not None:
        presented = _first_of("client.token_file", client.token_file)
    required = None if control.token is None else (control.token,)
    if control.token_file is not None:
        _first_of("control.token_file", control.token_file)
        required = (*(required or ()), *_tokens_of("control.token_file", control.token_file))
    routers = {
        router.address: _first_of(f"client.address[{index}].token_file", router.token_file)
        for index, router in enumerate(client.routers)
        if router.token_file is not None
    }
    return Tokens(tuple(dict.fromkeys(accepted)), presented, routers, required)


def load_accepted(settings: RouterSettings) -> tuple[AcceptedToken, ...]:
    """Return the tokens that agents may present to a router. Reads a file; ConfigError if it cannot be used."""
    server = settings.server
    accepted = list(server.accept_tokens)
    if server.accept_tokens_file is not None:
        accepted += map(AcceptedToken, _tokens_of("server.accept_tokens_file", server.accept_tokens_file))
    return tuple(dict.fromkeys(accepted))


def load_dashboard_tokens(dashboard: DashboardSettings) -> tuple[str, ...] | None:
    """Return the tokens of the dashboard's file; None without a file. ConfigError if it cannot be used."""
    path = dashboard.token_file
    if path is None:
        return None
    _first_of("dashboard.token_file", path)
    return tuple(_tokens_of("dashboard.token_file", path))


def read_tokens(path: Path) -> list[str]:
    """Return the tokens of a file: one a line, without blank lines and lines that begin with #.

    ConfigError, which names the file and quotes no token.
    """
    try:
        with path.open("rb") as file:
            data = file.read(TOKEN_FILE_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    if len(data) > TOKEN_FILE_MAX:
        raise ConfigError(f"{path}: longer than {TOKEN_FILE_MAX} bytes; a file of tokens has one a line")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8") from None
    tokens = [line.strip() for line in lines]
    if "\0" in "".join(tokens):
        raise ConfigError(f"{path}: not a text file")
    return [token for token in tokens if token and not token.startswith("#")]


def read_token(path: Path) -> str:
    """Return the first token of a file. ConfigError if there is none."""
    tokens = read_tokens(path)
    if not tokens:
        raise ConfigError(f"{path}: holds no token; a file of tokens has one a line")
    return tokens[0]


def readable_by_others(path: Path) -> bool:
    """Return whether other users of the machine may read the file."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def token_files(settings: Settings | RouterSettings) -> list[Path]:
    """Return the files of tokens that the configuration names."""
    named: tuple[Path | None, ...]
    if isinstance(settings, RouterSettings):
        dialled = (agent.token_file for agent in settings.dial.agents)
        named = (settings.server.accept_tokens_file, *dialled, settings.dashboard.token_file)
    else:
        client = settings.client
        own = (client.token_file, *(router.token_file for router in client.routers))
        named = (settings.server.accept_tokens_file, *own, settings.control.token_file, settings.dashboard.token_file)
    return [path for path in named if path is not None]


def _tokens_of(key: str, path: Path) -> list[str]:
    try:
        return read_tokens(path)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


def _first_of(key: str, path: Path) -> str:
    try:
        return read_token(path)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
