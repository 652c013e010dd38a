"""The log's pipe and its thread."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pagent import log
from pagent.errors import ConfigError
from pagent.limits import LOG_BURST, LOG_LINE_MAX, LOG_QUEUE_MAX
from pagent.log import handler as handlers
from pagent.log import repeats
from pagent.log.handler import PipeHandler


class Reader:
    """The reading end of the log's pipe, and the logger that writes to it."""

    def __init__(self, fd: int, written: int, handler: PipeHandler) -> None:
        self.fd = fd
        self.written = written  # the end that the log writes to
        self.handler = handler
        self.logger = logging.getLogger("tests.log")

    def text(self) -> str:
        """Close the handler and return all that was written."""
        taken: list[bytes] = []
        thread = threading.Thread(target=self._drain, args=[taken])
        thread.start()
        self.handler.close()
        os.close(self.written)
        thread.join()
        return b"".join(taken).decode()

    def _drain(self, taken: list[bytes]) -> None:
        while data := os.read(self.fd, 1 << 20):
            taken.append(data)


Make = Callable[..., Reader]


def made(**fields: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"levelno": logging.INFO, **fields})


@pytest.fixture
def reading() -> Iterator[Make]:
    """Make pipes that the log writes to. Afterwards the root logger and the descriptors are as before."""
    root = logging.getLogger()
    level = root.level
    made: list[Reader] = []

    def make(level: str = "debug", fmt: str = "%(message)s") -> Reader:
        read, write = os.pipe()
        handler = log.setup(level, fmt, fd=write)
        assert handler is not None
        made.append(Reader(read, write, handler))
        return made[-1]

    yield make
    for reader in made:
        root.removeHandler(reader.handler)
        os.close(reader.fd)
    root.setLevel(level)


# --- lines ------------------------------------------------------------------------------------------


def test_lines_come_out_in_order(reading: Make) -> None:
    reader = reading()
    for number in range(1000):
        reader.logger.debug("line %d", number)
    assert reader.text() == "".join(f"line {number}\n" for number in range(1000))


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", "diwec"), ("info", "iwec"), ("warning", "wec"), ("error", "ec"), ("fatal", "c")],
)
def test_levels(reading: Make, level: str, expected: str) -> None:
    reader = reading(level)
    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(reader.logger, name)(name[0])
    assert reader.text().split() == list(expected)


def test_the_operator_sets_the_format(reading: Make) -> None:
    reader = reading(fmt="<%(levelname)s %(name)s>\t%(message)s")
    reader.logger.warning("hello %s", "there")
    assert reader.text() == "<WARNING tests.log>\thello there\n"


def test_a_format_may_name_the_thread_and_the_process(reading: Make) -> None:
    reader = reading(fmt="%(threadName)s %(thread)d %(processName)s %(process)d")
    reader.logger.warning("hello")
    assert reader.text() == f"MainThread {threading.get_ident()} MainProcess {os.getpid()}\n"
    reader = reading(fmt="%(process)d")
    reader.logger.warning("hello")
    assert reader.text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("fmt", ["%(nonsense)s", "%(message", "no field at all", "%(levelno)q"])
def test_an_unusable_format_is_refused(fmt: str) -> None:
    before = logging.getLogger().handlers[:]
    with pytest.raises(ConfigError, match=r"^--log-format: "):
        log.setup("info", fmt)
    assert logging.getLogger().handlers == before


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^--log-level loud: must be one of debug, info, warning, error, fatal$"):
        log.setup("loud")


def test_a_format_may_name_the_source_line(reading: Make) -> None:
    reader = reading(fmt="%(filename)s %(funcName)s: %(message)s")
    reader.logger.info("text")
    assert reader.text() == "test_handler.py test_a_format_may_name_the_source_line: text\n"


def test_a_second_setup_replaces_the_first(reading: Make) -> None:
    first, second = reading(), reading()
    second.logger.info("once")
    assert second.text() == "once\n"
    assert first.text() == ""


def test_a_log_call_that_cannot_be_formatted_is_reported_as_a_line(reading: Make) -> None:
    reader = reading()
    # Past the logger, whose other handlers under pytest raise.
    reader.handler.handle(
        logging.makeLogRecord({"name": "a.b", "levelno": logging.INFO, "msg": "%d", "args": ("text",)})
    )
    assert reader.text() == "log: a line could not be formatted (TypeError) of a.b: '%d'\n"


def test_a_message_without_any_text_is_reported_by_its_class(reading: Make) -> None:
    class Unprintable:
        def __repr__(self) -> str:
            raise ValueError("no text")

    reader = reading()
    reader.handler.handle(logging.makeLogRecord({"name": "a.b", "levelno": logging.INFO, "msg": Unprintable()}))
    assert "could not be formatted (ValueError) of a.b: <class" in reader.text()


def test_without_stderr_log_calls_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", None)
    try:
        assert log.setup() is None
        logging.getLogger("tests.log").info("into nothing")
    finally:
        root.handlers[:] = before
        root.setLevel(level)


# --- a pipe that is not read ------------------------------------------------------------------------


def test_an_unread_pipe_blocks_no_caller_and_dropped_lines_are_counted(reading: Make) -> None:
    reader = reading()
    line = "x" * 1000
    # More than the pipe and the queue hold together; that this loop ends is the test.
    count = 2 * LOG_QUEUE_MAX // len(line)
    for _ in range(count):
        reader.logger.debug(line)
    lines = reader.text().splitlines()
    notices = [text for text in lines if text != line]
    lost = [re.fullmatch(r"log: (\d+) lines dropped because stderr was not read in time", notice) for notice in notices]
    assert sum(int(match[1]) for match in lost if match) == count - (len(lines) - len(notices)) > 0
    assert all(lost)


def test_the_process_ends_while_the_pipe_is_not_read() -> None:
    program = (
        "import logging; from pagent import log; log.setup('debug')\n"
        "for _ in range(3000): logging.debug('x' * 1000)\n"
        "print('done')"
    )
    read, write = os.pipe()
    with open(read, "rb"), open(write, "wb") as stderr:
        result = subprocess.run([sys.executable, "-c", program], stdout=-1, stderr=stderr, check=True, timeout=60)
    assert result.stdout == b"done\n"


def test_the_last_lines_are_written_before_the_process_ends() -> None:
    program = "import logging; from pagent import log; log.setup(fmt='%(message)s'); logging.warning('the end')"
    result = subprocess.run([sys.executable, "-c", program], stderr=-1, check=True, timeout=60)
    assert result.stderr.splitlines() == [b"the end"]


def test_a_closed_reader_is_not_an_error() -> None:
    program = "import logging; from pagent import log; log.setup(); logging.warning('x'); print('done')"
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as stderr:
        result = subprocess.run([sys.executable, "-c", program], stdout=-1, stderr=stderr, check=True, timeout=60)
    assert result.stdout == b"done\n"


def test_a_pipe_that_was_made_non_blocking_loses_no_lines(reading: Make) -> None:
    reader = reading()
    os.set_blocking(reader.written, False)
    for number in range(800):
        reader.logger.debug("%s %d", "x" * 1000, number)
    assert [int(line.split()[1]) for line in reader.text().splitlines()] == list(range(800))


def test_the_descriptor_stays_blocking(reading: Make) -> None:
    reader = reading()
    assert os.get_blocking(reader.written)


def test_a_closed_handler_takes_lines_and_drops_them(reading: Make) -> None:
    reader = reading()
    reader.handler.close()
    reader.logger.info("late")
    assert reader.text() == ""


# --- what a peer may put into a line ----------------------------------------------------------------


def test_a_message_is_one_escaped_line(reading: Make) -> None:
    reader = reading()
    # Past the logger: pytest's own capture cannot pass on what is no valid text.
    reader.handler.handle(made(msg="name %s", args=("x\nERROR forged\x1b[1m\udcff",)))
    assert reader.text() == "name x\\nERROR forged\\x1b[1m\\udcff\n"


def test_a_traceback_cannot_forge_an_entry(reading: Make) -> None:
    reader = reading()
    try:
        raise ValueError("bad\nERROR forged\x1b[1m")
    except ValueError:
        reader.logger.exception("failed")
    head, *rest = reader.text().splitlines()
    assert head == "failed"
    assert rest[0] == "  | Traceback (most recent call last):"
    assert rest[-2:] == ["  | ValueError: bad", r"  | ERROR forged\x1b[1m"]
    assert all(line.startswith("  | ") for line in rest)


def test_the_length_of_a_line_is_bounded(reading: Make) -> None:
    reader = reading()
    reader.logger.info("x" * (LOG_LINE_MAX + 1))
    reader.logger.info("y" * LOG_LINE_MAX)
    first, second = reader.text().splitlines()
    assert len(first) == LOG_LINE_MAX
    assert first.endswith("x ... (line cut)")
    assert second == "y" * LOG_LINE_MAX


# --- repeated lines ---------------------------------------------------------------------------------


def test_left_out_lines_are_reported_at_the_end(reading: Make) -> None:
    reader = reading("info")
    for number in range(1000):
        reader.logger.warning("flood %d", number)
    *lines, last = reader.text().splitlines()
    assert lines == [f"flood {number}" for number in range(LOG_BURST)]
    assert last == f"log: {1000 - LOG_BURST} more lines of tests.log were left out: flood %d"


def test_left_out_lines_are_reported_without_another_line(reading: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "LOG_REPEAT_S", 0.05)
    monkeypatch.setattr(repeats, "LOG_REPEAT_S", 0.05)
    reader = reading("info")
    for number in range(1000):
        reader.logger.warning("flood %d", number)
    output = b""
    while b"were left out" not in output:
        output += os.read(reader.fd, 1 << 20)


def test_debug_lines_are_not_bounded(reading: Make) -> None:
    reader = reading()
    for number in range(10 * LOG_BURST):
        reader.logger.debug("line %d", number)
    assert len(reader.text().splitlines()) == 10 * LOG_BURST
