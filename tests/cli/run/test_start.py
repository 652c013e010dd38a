"""``pagent start``: the uid of a job that runs is always printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.kit.peer import PATIENCE_S
from tests.kit.remotes import RemoteProcess


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk")
def test_a_full_disk_for_the_uid(place: RemoteProcess) -> None:
    command = [sys.executable, "-m", "pagent", "start", *place.options, "--", "sleep", "1000"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 1
    (uid,) = place.jobs
    words = rf"pagent: job {uid} runs, but its uid cannot be written to standard output: .*; pagent rm {uid} ends it"
    assert re.match(words, ended.stderr), ended.stderr
    subprocess.run([sys.executable, "-m", "pagent", "rm", *place.options, uid], timeout=PATIENCE_S, check=True)


def test_a_name_that_is_not_utf_8(place: RemoteProcess) -> None:
    name = os.fsdecode(b"K\xf6ln")
    for option in (["--name", name], ["-e", f"{name}=1"]):
        command = [sys.executable, "-m", "pagent", "start", *place.options, *option, "--", "sleep", "1000"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith(r"pagent: not valid Unicode: 'K\udcf6ln'")
    assert place.jobs == []
