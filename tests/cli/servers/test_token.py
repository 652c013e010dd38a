from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pagent.access.tokens import AccessTable
from pagent.cli import pagent
from pagent.config.access_tokens import load_access_tokens
from pagent.config.router import Access, AccessQuota
from pagent.config.token_file import list_tokens


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.yaml"


def token(file: Path, *args: str) -> Result:
    return CliRunner().invoke(pagent, ["token", *args, "--file", str(file)])


def test_a_file_that_does_not_exist_is_not_an_empty_one(file: Path) -> None:
    listed = token(file, "list")
    assert (listed.exit_code, listed.stdout) == (2, "")
    assert "No such file or directory" in listed.stderr


def test_a_new_token_is_printed_once_and_known_to_a_router(file: Path) -> None:
    made = token(file, "new", "alice")
    secret = made.output.strip()
    assert made.exit_code == 0
    assert secret.startswith("pagent_")
    assert len(secret) > 40
    text = file.read_text()
    assert secret not in text
    assert hashlib.sha256(secret.encode()).hexdigest() in text
    table = AccessTable(load_access_tokens(Access(tokens_file=file)), None)
    subject = table.subject_of(secret)
    assert subject is not None
    assert (subject.name, subject.scopes) == ("alice", ("read", "jobs", "proxy", "files", "logs", "exec"))
    listed = token(file, "list").output
    assert "alice" in listed
    assert hashlib.sha256(secret.encode()).hexdigest() not in listed
    assert token(file, "new", "bob").output.strip() != secret


def test_scopes_quota_and_expiry(file: Path) -> None:
    options = ["--scope", "read!any", "--scope", "admin", "--expires", "2h", "--jobs", "0", "--streams", "7"]
    assert token(file, "new", "a", *options, "--jobs-per-minute", "5").exit_code == 0
    assert token(file, "new", "b", "--expires", "2999-01-01T00:00:00+01:00").exit_code == 0
    first, second = list_tokens(file)
    assert first.scopes == ("read!any", "admin")
    assert first.quota == AccessQuota(jobs=0, jobs_per_minute=5, streams=7)
    assert first.expires is not None
    assert timedelta(hours=1) < first.expires - datetime.now(UTC) <= timedelta(hours=2)
    assert second.expires == datetime(2998, 12, 31, 23, tzinfo=UTC)
    assert "jobs=0,jobs/min=5,streams=7" in token(file, "list").output


def test_revoking(file: Path) -> None:
    token(file, "new", "a")
    token(file, "new", "b")
    assert token(file, "revoke", "a").exit_code == 0
    assert [each.name for each in list_tokens(file)] == ["b"]
    again = token(file, "revoke", "a")
    assert (again.exit_code, "there is no token 'a'" in again.output) == (2, True)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["new", "a b"], "NAME"),
        (["new", ""], "NAME"),
        (["new", "a", "--scope", "all"], "--scope all: a scope is one of"),
        (["new", "a", "--expires", "soon"], "--expires: must be a span"),
        (["new", "a", "--expires", "2020-01-01"], "--expires: the time is over"),
        (["new", "a", "--expires", "999999w"], "--expires: is too far away"),
        (["new", "a", "--jobs", "-1"], "--jobs"),
        (["revoke", "a"], "No such file"),
    ],
)
def test_what_is_refused_makes_no_file(file: Path, args: list[str], words: str) -> None:
    refused = token(file, *args)
    assert refused.exit_code == 2
    assert words in refused.output
    assert not file.exists()
