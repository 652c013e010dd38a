"""Log lines of JSON."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.limits import LOG_BURST, LOG_LINE_MAX
from pagent.log.json_format import IDS, JsonFormatter


def formatted(text: str, *args: object, **extra: object) -> dict[str, object]:
    record = logging.LogRecord("pagent.x", logging.WARNING, "", 0, text, args, None)
    record.__dict__.update(extra)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert len(line) <= LOG_LINE_MAX
    found: dict[str, object] = json.loads(line)
    return found


def test_the_keys_of_a_line() -> None:
    line = formatted("job %s: ended", "j1", job="j1", agent="a", link="l", call=7, request="r", other="not a key")
    assert line.pop("time") == pytest.approx(time.time(), abs=60)
    assert line == {
        "level": "warning",
        "logger": "pagent.x",
        "message": "job j1: ended",
        "job": "j1",
        "agent": "a",
        "link": "l",
        "call": 7,
        "request": "r",
    }
    assert set(IDS) < set(line)


@pytest.mark.parametrize("name", ["job", "link"])
def test_a_message_that_begins_with_its_subject_has_the_id(name: str) -> None:
    assert formatted(f"{name} %s: ended", "u1")[name] == "u1"
    assert formatted(f"{name} %s with %r", "u1", 2)[name] == "u1"
    assert name not in formatted(f"no {name} %s", "u1")
    assert name not in formatted(f"{name} number %s", "u1")


def test_a_message_on_an_agent_has_its_uid() -> None:
    assert formatted("agent %r (%r) is connected", "u1", "a name")["agent"] == "u1"
    assert formatted("agent %r: link %s: lost", "u1", "l")["agent"] == "u1"


@given(st.text(st.characters()))
def test_every_text_is_one_line_of_printable_characters(text: str) -> None:
    message = formatted("%s", text)["message"]
    assert isinstance(message, str)
    assert not any(ord(character) < 32 or character in "\u2028\u202e" for character in message)


@pytest.mark.parametrize("character", ["x", "\x1b", "ü", "\udcff"])
def test_a_long_message_is_cut_and_the_line_stays_json(character: str) -> None:
    message = formatted("%s", character * LOG_LINE_MAX)["message"]
    assert isinstance(message, str)
    assert message.endswith(" ... (cut)")


def test_an_exception_has_its_traceback() -> None:
    try:
        raise ValueError("bad\nERROR forged")
    except ValueError:
        record = logging.LogRecord("pagent.x", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    line = json.loads(JsonFormatter().format(record))
    assert line["message"] == "failed"
    assert line["exception"].endswith("ValueError: bad\\nERROR forged")


def test_every_line_of_a_process_is_json_also_of_those_left_out() -> None:
    program = (
        "import logging; from pagent import log; log.setup('info', as_json=True)\n"
        f"for number in range({LOG_BURST + 5}): logging.warning('flood %d', number)\n"
        "logging.info('%d', 'no number')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, check=True, env={**os.environ, "PYTHONWARNINGS": ""}
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    texts = [line["message"] for line in lines]
    assert texts[:LOG_BURST] == [f"flood {number}" for number in range(LOG_BURST)]
    assert any("5 more lines of root were left out" in text for text in texts)
    assert any("could not be formatted (TypeError)" in text for text in texts)
