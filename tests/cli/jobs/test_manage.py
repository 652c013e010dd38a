"""``ps``, ``info``, ``wait``, ``kill``, ``rm``, ``start``, ``logs`` and ``exec``, with an agent and with a router."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import Outcome, command, outcome_of
from tests.kit.agents import with_token
from tests.kit.remotes import RemoteProcess

Command = Callable[..., Outcome]


@pytest.fixture
def pagent(place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command that uses the place."""
    return command(place, tmp_path, capfd)


def job_with(pagent: Command, *arguments: str) -> str:
    """Start a job, and return its uid."""
    code, stdout, stderr = pagent("start", *arguments)
    assert (code, stderr) == (0, "")
    assert re.fullmatch("[0-9a-f]{32}\n", stdout)
    return stdout.strip()


def ended_job(pagent: Command, *arguments: str) -> str:
    uid = job_with(pagent, *arguments)
    pagent("wait", uid)
    return uid


def test_a_job_from_its_start_to_its_removal(pagent: Command) -> None:
    uid = job_with(pagent, "--name", "life", "--", sys.executable, "-m", "http.server", "{port}")
    heads, *rows = pagent("ps").stdout.splitlines()
    assert heads.split()[:4] == ["UID", "NAME", "STATE", "AGE"]
    (row,) = [row.split() for row in rows if row.startswith(uid[:12])]
    assert row[1:3] == ["life", "RUNNING"]
    assert pagent("kill", "--grace", "0.1", "life") == (0, "life\n", "")
    assert pagent("wait", uid).code == 128 + 15
    assert uid[:12] not in pagent("ps").stdout
    assert uid in pagent("ps", "-a", "-q").stdout
    assert pagent("rm", uid[:8]) == (0, f"{uid[:8]}\n", "")
    assert "REMOVED (SIGTERM)" in pagent("info", uid).stdout


def test_why_a_job_has_died(pagent: Command) -> None:
    uid = ended_job(pagent, "-e", "WHY=no input", "--", "sh", "-c", 'echo started; echo "$WHY" >&2; exit 3')
    text = pagent("info", uid).stdout
    assert "state:        FINISHED (exit 3)\n" in text
    assert text.endswith("end of standard error:\n  no input\n")
    assert pagent("logs", uid) == (0, "started\n", "no input\n")
    assert pagent("logs", "-f", "--stderr", uid) == (0, "", "no input\n")
    assert pagent("wait", uid) == (3, "3\n", "")
    pagent("rm", uid)


def test_the_last_lines_of_an_output(pagent: Command) -> None:
    uid = ended_job(pagent, "--", "seq", "100")
    assert pagent("logs", "--tail", "2", uid) == (0, "99\n100\n", "")
    assert pagent("logs", "--tail", "0", "-f", uid) == (0, "", "")
    pagent("rm", uid)


def _time_without_output(pagent: Command, uid: str) -> str:
    """Wait until the agent has noted all output of a job as older than the present second, and return that."""
    while pagent("logs", uid) != (0, "old\n", "old\n"):
        pass
    while pagent("logs", "--since", now := str(int(time.time())), uid) != (0, "", ""):
        pass
    return now


def test_the_output_since_a_time(pagent: Command) -> None:
    writes = "echo old; echo old >&2; until [ -e go ]; do sleep 0.05; done; echo new; sleep 1000"
    uid = job_with(pagent, "--", "sh", "-c", writes)
    time_after_old = _time_without_output(pagent, uid)
    async_wait = ["sh", "-c", "touch go; until grep -q new .pagent.stdout; do sleep 0.05; done"]
    assert pagent("exec", uid, *async_wait).code == 0
    assert pagent("logs", "--since", "1h", uid) == (0, "old\nnew\n", "old\n")
    assert pagent("logs", "--since", time_after_old, uid) == (0, "new\n", "")
    assert pagent("logs", "--since", time_after_old, "--tail", "5", uid) == (0, "new\n", "")
    assert pagent("logs", "--since", "1700000000", "--tail", "1", uid) == (0, "new\n", "old\n")
    later = datetime.now(UTC) + timedelta(days=1)
    assert pagent("logs", "--since", f"{later:%Y-%m-%dT%H:%M:%SZ}", uid) == (0, "", "")
    assert pagent("logs", "--since", "soon", uid).code == 2
    pagent("kill", "--grace", "0.1", uid)
    assert pagent("logs", "-f", "--since", "1h", uid) == (0, "old\nnew\n", "old\n")
    pagent("rm", uid)


def test_json_has_times_of_rfc_3339(pagent: Command) -> None:
    uid = ended_job(pagent, "--", "true")
    info: dict[str, Any] = json.loads(pagent("info", "--json", uid).stdout)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", info["created_at"])
    listed = json.loads(pagent("ps", "-a", "--json").stdout)
    assert uid in [each["uid"] for each in listed]
    pagent("rm", uid)


def test_a_name_of_several_jobs_is_an_error_that_lists_them(pagent: Command) -> None:
    uids = [ended_job(pagent, "--name", "twin", "--", "true") for _ in range(2)]
    code, stdout, stderr = pagent("logs", "twin")
    assert (code, stdout) == (1, "")
    assert stderr.startswith("pagent: 'twin' names 2 jobs: ")
    assert all(uid in stderr for uid in uids)
    assert pagent("rm", *uids).code == 0


@pytest.mark.parametrize("words", [["info"], ["logs"], ["kill"], ["rm"], ["wait"], ["adopt"], ["forward"]])
@pytest.mark.parametrize("name", ["nonsense", "00000000"])
def test_a_job_that_does_not_exist(pagent: Command, words: list[str], name: str) -> None:
    expected = f"pagent: job {name!r} is not found; pagent ps -a lists all jobs\n"
    assert pagent(*words, name) == (3, "", expected)


def test_a_job_that_was_removed(pagent: Command) -> None:
    uid = job_with(pagent, "--name", "gone", "--", "sleep", "60")
    pagent("rm", uid)
    for name in ("gone", uid):
        code, stdout, stderr = pagent("logs", name)
        assert (code, stdout) == (3, "")
        assert re.fullmatch(rf"pagent: job '{name}' was removed \ds ago; pagent info prints how it has ended\n", stderr)
    assert "removed by the client or router" in pagent("info", "gone").stdout
    assert pagent("wait", uid) == (143, "143\n", "")


def test_the_client_that_has_killed_a_job_is_its_reason(pagent: Command) -> None:
    uid = job_with(pagent, "--", "sleep", "60")
    assert pagent("kill", "-s", "KILL", uid).code == 0
    text = pagent("info", uid).stdout
    assert "FINISHED (SIGKILL)" in text
    assert "killed by the client or router" in text
    pagent("rm", uid)


def test_a_removal_of_what_does_not_exist_can_be_forced(pagent: Command) -> None:
    assert pagent("rm", "-f", "nonsense") == (0, "", "")


def test_a_wait_has_a_time_limit(pagent: Command) -> None:
    uid = job_with(pagent, "--", "sleep", "60")
    assert pagent("wait", "--timeout", "0.1", uid) == (124, "", f"pagent: job {uid} has not ended within 0.1 s\n")
    pagent("rm", uid)


def test_a_job_that_cannot_be_started_is_removed(pagent: Command) -> None:
    assert pagent("start", "--", "no-such-program").code == 127
    code, stdout, stderr = pagent("start", "--", "sh", "-c", "echo no luck >&2; exit 4 # {port}")
    assert (code, stdout) == (4, "")
    assert stderr == "pagent: the command ended with exit code 4 before it listened on its port: no luck\n"
    assert pagent("ps", "-q").stdout == ""


def test_hostile_names_and_output_cannot_control_the_terminal(pagent: Command) -> None:
    uid = ended_job(pagent, "--name", "x\x1b[2J\nfake", "--", "sh", "-c", r"printf '\033[2Jboo' >&2")
    for words in (["ps", "-a"], ["info", uid]):
        text = pagent(*words).stdout
        assert "\x1b" not in text
        assert r"x\x1b[2J\nfake" in text
    pagent("rm", uid)


# --- exec -------------------------------------------------------------------------------------------


def test_exec_has_output_input_and_exit_code(pagent: Command) -> None:
    uid = job_with(pagent, "--", "sleep", "60")
    assert pagent("exec", uid, "--", "sh", "-c", "echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")
    assert pagent("exec", "-i", uid, "cat", stdin="some text\n") == (0, "some text\n", "")
    assert pagent("exec", uid, "cat", stdin="not read") == (0, "", "")
    assert pagent("exec", uid, "sh", "-c", "kill -9 $$").code == 128 + 9
    assert pagent("exec", "-e", "A=1", uid, "sh", "-c", "echo $A").stdout == "1\n"
    code, _, stderr = pagent("exec", uid, "no-such-program")
    assert code == 127
    assert stderr.startswith("pagent: no-such-program: command not found")
    pagent("rm", uid)


# --- without a link ---------------------------------------------------------------------------------


def test_no_link(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, stdout, stderr = outcome_of(capfd, tmp_path, ["ps", "--agent", "127.0.0.1:1", *with_token(tmp_path)])
    assert (code, stdout) == (4, "")
    assert stderr.startswith("pagent: 127.0.0.1:1: Connection refused; is the address right")


def test_a_token_that_is_not_accepted(place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if place.entry.ports.get("control") == place.port:
        pytest.skip("this router is open: it accepts every token")
    code, stdout, stderr = outcome_of(
        capfd, tmp_path, ["ps", "--agent", place.address, *with_token(tmp_path, "another")]
    )
    assert (code, stdout) == (5, "")
    assert "handshake refused: the token is not accepted; use another token" in stderr


# --- contexts ---------------------------------------------------------------------------------------


def test_a_context_replaces_address_and_token(
    place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: str) -> Outcome:
        return outcome_of(capfd, tmp_path, words)

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("PAGENT_CONTEXT", raising=False)
    assert run("ps").code == 2
    _, address, *token = place.options
    assert run("context", "add", "here", address, *token) == (0, "here is saved, and is the current context\n", "")
    assert run("context", "add", "gone", "127.0.0.1:1", *token) == (0, "gone is saved\n", "")
    assert run("ps").code == 0
    file = tmp_path / "pagent" / "contexts.yaml"
    file.chmod(0o644)
    warning = f"pagent: {file}: other users can read your tokens; run chmod 600\n"
    assert run("ps").stderr == run("context", "list").stderr == warning
    assert run("ps", *place.options).stderr == ""
    file.chmod(0o600)
    assert run("ps", "--context", "gone").code == 4
    assert run("ps", "--context", "none").code == 2
    monkeypatch.setenv("PAGENT_CONTEXT", "gone")
    assert run("ps").code == 4
    assert run("context", "list").stdout.splitlines()[2].split() == ["*", "gone", "127.0.0.1:1"]
    monkeypatch.delenv("PAGENT_CONTEXT")
    assert run("context", "use", "gone").code == 0
    assert run("ps").code == 4
    assert run("context", "remove", "gone").code == 0
    assert run("ps", "--agent", address, "--context", "here").code == 2
