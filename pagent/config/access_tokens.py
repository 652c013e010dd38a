"""The tokens of a closed router's users: those of the configuration, and those of the file that it names.

The file is a YAML list of maps, as ``access.tokens`` is. ``pagent token`` edits it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pagent.config.load import read_list
from pagent.config.router import Access, AccessToken
from pagent.config.schema import build
from pagent.errors import ConfigError
from pagent.limits import TOKEN_FILE_MAX


def load_access_tokens(access: Access) -> Iterator[tuple[str, AccessToken]]:
    """Yield all tokens, each after the place that it is from. ConfigError, which names the key, for a bad file."""
    for index, token in enumerate(access.tokens):
        yield f"access.tokens[{index}]", token
    if access.tokens_file is not None:
        where = f"access.tokens_file: {access.tokens_file}"
        for index, token in enumerate(parse_records(read_records(access.tokens_file, where), where)):
            yield f"{where}: [{index}]", token


def read_records(path: Path, where: str) -> str:
    """Return the text of a file of tokens. ConfigError, which begins with ``where``."""
    try:
        with path.open("rb") as file:
            data = file.read(TOKEN_FILE_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror or error}") from None
    if len(data) > TOKEN_FILE_MAX:
        raise ConfigError(f"{where}: longer than {TOKEN_FILE_MAX} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: not a text file in UTF-8") from None


def parse_records(text: str, where: str) -> list[AccessToken]:
    """Return the tokens of a file. ConfigError, which quotes nothing of the file."""
    return [build(AccessToken, value, f"{where}: [{index}]") for index, (value, _) in enumerate(read_list(text, where))]
