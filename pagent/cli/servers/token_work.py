"""The work of ``pagent token``: make a token, and print those that there are."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from pagent.access.scopes import parse_scope
from pagent.access.tokens import check_name
from pagent.cli.terminal.times import parse_span
from pagent.config.router import AccessToken
from pagent.config.token_file import add_token, list_tokens
from pagent.log import escape
from pagent.rfc3339 import utc_text

#: The prefix of tokens, by which scanners for secrets can find them.
_PREFIX: Final = "pagent_"
_SECRET_BYTES: Final = 32

_FORMS: Final = "a span such as 90d, or a time such as 2030-12-31T23:59:59Z"


def new_token(
    path: Path, name: str, scopes: Sequence[str], expires: str | None, quota: Mapping[str, int | None]
) -> str:
    """Add a new token to a file, and return it. ConfigError, click.UsageError."""
    check_name("NAME", name)
    for scope in scopes:
        try:
            parse_scope(scope)
        except ValueError as error:
            raise click.UsageError(f"--scope {escape(scope)}: {error}") from None
    secret = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    record: dict[str, Any] = {
        "name": name,
        "sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "scopes": list(scopes),
    }
    if expires is not None:
        record["expires"] = utc_text(_time(expires).timestamp(), "seconds")
    if limits := {key: limit for key, limit in quota.items() if limit is not None}:
        record["quota"] = limits
    add_token(path, record)
    return secret


def _time(text: str) -> datetime:
    now = datetime.now(UTC)
    try:
        if (span := parse_span(text)) is not None:
            time = now + timedelta(seconds=span)
        else:
            time = datetime.fromisoformat(text)
            time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except ValueError:
        raise click.UsageError(f"--expires: must be {_FORMS}") from None
    except OverflowError:
        raise click.UsageError("--expires: is too far away") from None
    if time <= now:
        raise click.UsageError("--expires: the time is over")
    return time


def token_lines(path: Path) -> Iterator[str]:
    """Return a table of the tokens of a file. ConfigError."""
    tokens = list_tokens(path)
    rows = [("NAME", "EXPIRES", "QUOTA", "SCOPES"), *map(_row, tokens)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        yield escape("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]))


def _row(token: AccessToken) -> tuple[str, str, str, str]:
    if token.expires is None:
        expires = "never"
    else:
        is_over = token.expires <= datetime.now(UTC)
        expires = f"{token.expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}{' (expired)' if is_over else ''}"
    limits = {"jobs": token.quota.jobs, "jobs/min": token.quota.jobs_per_minute, "streams": token.quota.streams}
    quota = ",".join([f"{name}={limit}" for name, limit in limits.items() if limit is not None])
    return token.name, expires, quota or "none", " ".join(token.scopes) or "none"
