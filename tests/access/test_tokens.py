from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta

import pytest

from pagent.access.tokens import AccessTable
from pagent.config.router import AccessHeader, AccessQuota, AccessToken
from pagent.errors import ConfigError

SCOPES = ("read",)
HEADER = AccessHeader("Remote-User", SCOPES)


def token(name: str, secret: str, **more: object) -> AccessToken:
    return AccessToken(name, hashlib.sha256(secret.encode()).hexdigest(), **{"scopes": SCOPES, **more})  # type: ignore[arg-type]


def table(*tokens: AccessToken, header: AccessHeader | None = None) -> AccessTable:
    return AccessTable(((f"tokens[{index}]", each) for index, each in enumerate(tokens)), header)


def test_a_token_is_known_by_its_digest() -> None:
    known = table(token("a", "one"), token("b", "two"))
    subject = known.subject_of("two")
    assert subject is not None
    assert (subject.name, subject.scopes) == ("b", SCOPES)
    assert known.subject_of("three") is None
    assert known.subject_of("") is None
    assert known.subject_of(hashlib.sha256(b"one").hexdigest()) is None
    assert known.subject_of("\udcff") is None
    assert "sha256" not in repr(token("a", "one"))


def test_digits_of_a_digest_may_be_of_either_case() -> None:
    upper = AccessToken("a", hashlib.sha256(b"one").hexdigest().upper(), SCOPES)
    assert table(upper).subject_of("one") is not None


def test_a_token_that_has_expired_is_not_known() -> None:
    now = datetime.now(UTC)
    known = table(token("a", "one", expires=now), token("b", "two", expires=now + timedelta(hours=1)))
    assert known.subject_of("one") is None
    later = known.subject_of("two")
    assert later is not None
    (expiry,) = known.expiries()
    assert 0 < expiry - time.time() <= 3600


def test_a_subject_is_current_as_long_as_it_has_all_that_it_had() -> None:
    subject = table(token("a", "one", scopes=("read", "jobs"))).subject_of("one")
    assert subject is not None
    assert table(token("a", "one", scopes=("jobs", "read", "logs"))).is_current(subject)
    assert not table(token("a", "one", scopes=("read",))).is_current(subject)
    assert not table(token("a", "two", scopes=("read", "jobs"))).is_current(subject)
    assert not table(token("b", "one", scopes=("read", "jobs"))).is_current(subject)
    assert not table().is_current(subject)


def test_a_user_is_current_as_long_as_the_header_is() -> None:
    user = table(header=HEADER).user("Ann Example")
    assert user is not None
    assert table(header=HEADER).is_current(user)
    assert not table().is_current(user)
    assert not table(header=AccessHeader("Remote-User", ("logs",))).is_current(user)
    assert not table(token("Ann", "one")).is_current(user)


@pytest.mark.parametrize("name", ["", "a\tb", "a\x7f", "x" * 129, "\u2028", "é" * 65])
def test_invalid_names_of_users(name: str) -> None:
    assert table(header=HEADER).user(name) is None


def test_the_quota_is_that_of_the_token_in_force() -> None:
    quota = AccessQuota(jobs=1)
    known = table(token("a", "one", quota=quota), header=HEADER)
    subject, user = known.subject_of("one"), known.user("a")
    assert subject is not None
    assert user is not None
    assert known.quota_of(subject) == quota
    assert known.quota_of(user) == AccessQuota()
    assert table().quota_of(subject) == AccessQuota()


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([token("a", "one"), token("a", "two")], r"^tokens\[1\]\.name: another token has the name 'a'"),
        ([token("a", "one"), token("b", "one")], r"^tokens\[1\]\.sha256: another token has the same"),
        ([AccessToken("a", "secret", SCOPES)], r"^tokens\[0\]\.sha256: must be the 64"),
        ([AccessToken("a", "g" * 64, SCOPES)], r"^tokens\[0\]\.sha256: must be the 64"),
        ([token("a", "one", scopes=("read", "nothing"))], r"^tokens\[0\]\.scopes\[1\]: a scope is one of"),
        ([token("a b", "one")], r"^tokens\[0\]\.name: must be"),
        ([token("x" * 129, "one")], r"^tokens\[0\]\.name: must be"),
        ([token("é", "one")], r"^tokens\[0\]\.name: must be"),
    ],
)
def test_faults_of_tokens(tokens: list[AccessToken], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        table(*tokens)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "Host", "AUTHORIZATION", "x_forwarded_for", "X-Pagent-User", "Cookie"])
def test_names_of_the_header_that_a_client_sets_itself(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^access\.header\.name: "):
        table(header=AccessHeader(name, SCOPES))


def test_the_scopes_of_the_header_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"^access\.header\.scopes\[0\]: "):
        table(header=AccessHeader("Remote-User", ("x",)))
