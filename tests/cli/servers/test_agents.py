"""``pagent agents``, with an agent and with a router."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pagent import __version__
from pagent.cli.servers import agents_work
from pagent.cli.terminal import tables
from tests.cli.commands import command
from tests.kit.remotes import RemoteProcess


def test_the_agents_are_listed(place: RemoteProcess, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = command(place, tmp_path, capfd)
    code, stdout, stderr = run("agents")
    assert (code, stderr) == (0, "")
    heads, row = (re.split("  +", line) for line in stdout.splitlines())
    listed = dict(zip(heads, row, strict=True))
    assert (listed["NAME"], listed["STATE"], listed["JOBS"], listed["VERSION"]) == ("agent", "ready", "0", __version__)
    assert re.fullmatch(r"\d+\.\d/\d+", listed["LOAD"])
    assert re.fullmatch(r"\d+\.\d/\d+\.\dG", listed["MEMORY"])
    assert re.fullmatch(r"\d+s", listed["SINCE"])
    (agent,) = json.loads(run("agents", "--json").stdout)
    assert re.fullmatch(r"\d{4}-.*Z", agent["started_at"])
    assert agent["uid"].startswith(listed["UID"])
    assert run("agents", "-q") == (0, f"{agent['uid']}\n", "")


def test_a_row_of_a_hostile_agent_that_knows_little(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = {
        "name": "x\x1b[2J",
        "uid": "node-1-of-a-long-name",
        "platform": {"node": 5},
        "properties": {},
        "load": None,
    }
    monkeypatch.setattr(tables, "output_columns", lambda: 40)
    tables.print_table(agents_work.HEADS, [agents_work.row_of(agent)])
    heads, row = capsys.readouterr().out.splitlines()
    assert max(len(heads), len(row)) <= 40
    assert "\x1b" not in row
