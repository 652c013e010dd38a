"""The tokens of a closed router, and the users that a trusted proxy names.

A router knows no secret: it keeps the SHA-256 of each token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from pagent.access.scopes import parse_scope
from pagent.config.router import AccessHeader, AccessQuota, AccessToken
from pagent.errors import ConfigError
from pagent.http1.fields import is_token
from pagent.router_limits import SUBJECT_NAME_MAX
from pagent.rpc.directory import Rights, Subject

#: The quota of a subject for which none is set.
NO_QUOTA: Final = AccessQuota()

_is_digest: Final = re.compile(r"[0-9A-Fa-f]{64}").fullmatch
_is_name: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+/-]*").fullmatch


class _KnownToken(NamedTuple):
    subject: Subject
    digest: bytes
    expires: float | None
    quota: AccessQuota


class AccessTable:
    """The tokens and the header in force. ConfigError, which names the key, for a value that cannot be used.

    :param tokens: each with the place that it is from, for errors.
    :param anonymous: the subject of requests without a token; None if they are refused.
    """

    def __init__(
        self,
        tokens: Iterable[tuple[str, AccessToken]],
        header: AccessHeader | None,
        anonymous: Subject | None = None,
    ) -> None:
        self._by_digest: dict[bytes, _KnownToken] = {}
        self._by_name: dict[str, _KnownToken] = {}
        self.anonymous = anonymous
        if header is not None:
            _check_header(header)
        #: The name of the field with the user, in lower case; empty for none.
        self.header = "" if header is None else header.name.lower()
        self._header_scopes = () if header is None else header.scopes
        for where, token in tokens:
            self._add(where, token)

    def _add(self, where: str, token: AccessToken) -> None:
        check_name(where, token.name)
        if _is_digest(token.sha256) is None:
            raise ConfigError(f"{where}.sha256: must be the 64 hexadecimal digits of a SHA-256")
        check_scopes(where, token.scopes)
        digest = bytes.fromhex(token.sha256)
        if token.name in self._by_name:
            raise ConfigError(f"{where}.name: another token has the name {token.name!r}")
        if digest in self._by_digest:
            raise ConfigError(f"{where}.sha256: another token has the same")
        subject = Subject(token.name, token.scopes, token.sha256.lower())
        expires = None if token.expires is None else token.expires.timestamp()
        self._by_digest[digest] = self._by_name[token.name] = _KnownToken(subject, digest, expires, token.quota)

    def __len__(self) -> int:
        return len(self._by_name)

    # --- asking -----------------------------------------------------------------------------------

    def subject_of(self, secret: str) -> Subject | None:
        """Return the subject of a token that was presented; None if it is unknown or has expired.

        What is looked up is a digest. A caller cannot choose one, so the time says nothing about those that are known.
        """
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        known = self._by_digest.get(digest)
        if known is None or not hmac.compare_digest(known.digest, digest) or _is_over(known):
            return None
        return known.subject

    def named(self, name: str) -> Subject | None:
        """Return the subject of the token with a name; None if there is none, or it has expired."""
        known = self._by_name.get(name)
        return None if known is None or _is_over(known) else known.subject

    def user(self, name: str) -> Subject | None:
        """Return the subject that a trusted proxy names in the header; None if it cannot be a name."""
        if (
            not self.header
            or not name
            or not name.isprintable()
            or len(name.encode("utf-8", "replace")) > SUBJECT_NAME_MAX
        ):
            return None
        return Subject(name, self._header_scopes)

    def is_current(self, subject: Subject) -> bool:
        """Return whether a subject has all that it had when it was let in."""
        if subject == self.anonymous:
            return True
        if not subject.credential:
            return bool(self.header) and set(subject.scopes) <= set(self._header_scopes)
        known = self._by_name.get(subject.name or "")
        if known is None or known.subject.credential != subject.credential or _is_over(known):
            return False
        return set(subject.scopes) <= set(known.subject.scopes)

    def quota_of(self, subject: Subject) -> AccessQuota:
        """Return the quota of a subject."""
        known = self._by_name.get(subject.name or "") if subject.credential else None
        return NO_QUOTA if known is None else known.quota

    def rights_of(self, subject: Subject) -> Rights:
        """Return the quota and the end of a subject."""
        quota = self.quota_of(subject)
        known = self._by_name.get(subject.name or "") if subject.credential else None
        return Rights(quota.jobs, quota.jobs_per_minute, quota.streams, None if known is None else known.expires)

    def expiries(self) -> Iterator[float]:
        """Yield the times, in epoch seconds, at which tokens expire that have not yet."""
        return (known.expires for known in self._by_name.values() if known.expires and not _is_over(known))


def _is_over(known: _KnownToken) -> bool:
    return known.expires is not None and known.expires <= time.time()


def check_name(where: str, name: str) -> None:
    """ConfigError if a token cannot have this name."""
    if _is_name(name) is None or len(name) > SUBJECT_NAME_MAX:
        raise ConfigError(
            f"{where}.name: must be at most {SUBJECT_NAME_MAX} letters, digits and . _ @ + / -, and begin with a letter"
            " or digit"
        )


def check_scopes(where: str, scopes: Iterable[str]) -> None:
    """ConfigError if one of these is no scope."""
    for index, scope in enumerate(scopes):
        try:
            parse_scope(scope)
        except ValueError as error:
            raise ConfigError(f"{where}.scopes[{index}]: {error}") from None


def _check_header(header: AccessHeader) -> None:
    name = dashed(header.name)
    if not is_token(header.name) or name in _RESERVED or name.startswith("x-pagent-"):
        raise ConfigError("access.header.name: must be the name of a field that only the proxy sets")
    check_scopes("access.header", header.scopes)


def dashed(name: str) -> str:
    """Return the name of a field in the one spelling that stands for all: programs do not tell ``_`` from ``-``."""
    return name.lower().replace("_", "-")


#: Fields that have a meaning of their own: with one of them as the user's, each client would name itself.
_RESERVED: Final = {
    *("authorization", "connection", "content-length", "content-type", "cookie", "expect", "host", "origin", "te"),
    *("forwarded", "transfer-encoding", "upgrade", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port"),
    *("x-forwarded-prefix", "x-forwarded-proto", "x-real-ip", "x-request-id", "referer", "user-agent"),
}
